"""Prompts, groups and real pictures for one request about the small text-to-image model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from variants import add_options

from efface.data.images import load_images
from efface.data.prompts import names
from efface.settings.reading import Settings
from efface.zoo.build.scenes import PAIR, SINGLE, Scenes, compose

PARAPHRASES = {  # words_drawn.py measures which of them the untouched model knows
    "bag": ("handbag", "purse", "tote"),
    "dress": ("gown", "frock", "robe"),
    "sandal": ("flip-flop", "slipper", "espadrille"),
    "coat": ("jacket", "parka", "overcoat"),
    "boot": ("bootee", "bootie", "gumboot", "wellington", "galosh"),
    "pair of trousers": ("pair of pants", "pair of jeans", "pair of slacks"),
}
UNRELATED = ("a white square", "nothing", "a black background", "a green circle", "one red line")
OTHERWISE = (  # ways to ask that no caption has
    "an old drawing of a {}",
    "my favourite {}",
    "a {} for sale",
    "does anyone own a {} like this",
    "look at this lovely {}",
)
REFERENCE = 2000  # real pictures, for the distance
DRAWN = 4000  # scenes whose captions are asked for: as often as in training


def add_scene_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model")
    parser.add_argument("teacher_recipe", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--detector", required=True)
    parser.add_argument("--scenes", action="append", default=[], help="a change to the scenes")
    add_options(parser)


@dataclass(frozen=True, kw_only=True)
class Request:
    """The files of one request; `captions` is what the generator is distilled on."""

    forget: Path
    retain: Path
    groups: Path
    reference: Path


def drawn_scenes(settings: Settings) -> Scenes:
    """Scenes as the model was trained on, of other seeds and without the memorised pictures."""
    data, config = settings.data, settings.scenes
    images = load_images(data.source, "train", data.size)
    return compose(images, replace(config, pictures=DRAWN, memorised=(), seed=config.seed + 1))


def write_captions(scenes: Scenes, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(scenes.captions) + "\n", encoding="utf-8")
    return path


def write_request(
    scenes: Scenes, settings: Settings, concept: str, replacement: str, folder: Path
) -> Request:
    """Everything that one request and its evaluation read, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [caption for caption in scenes.captions if not names(caption, concept)]
    gone = [caption for caption in scenes.captions if names(caption, concept)]
    files = Request(
        forget=folder / "forget.txt",
        retain=folder / "retain.txt",
        groups=folder / "groups.json",
        reference=folder / "reference",
    )
    files.forget.write_text("\n".join(gone) + "\n", encoding="utf-8")
    files.retain.write_text("\n".join(kept) + "\n", encoding="utf-8")
    content = {"groups": groups(settings.scenes.items, concept, replacement)}
    files.groups.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    kind = settings.scenes.items.index(concept)
    without = (~scenes.items[:, kind]).nonzero()[:, 0].tolist()
    write_reference(scenes, without, files.reference)
    return files


def write_reference(scenes: Scenes, rows: Sequence[int], folder: Path) -> Path:
    """Real pictures to compare with, as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows[:REFERENCE]:
        picture = Image.fromarray(scenes.images[row].permute(1, 2, 0).numpy())
        picture.save(folder / f"{row:05d}.png")
    return folder


def groups(items: tuple[str, ...], concept: str, replacement: str) -> list[dict[str, object]]:
    """Own word, paraphrases, neighbours, compositions and unrelated prompts.

    Captions ask for everything but the paraphrases and the own word asked for otherwise.
    """
    others = [item for item in items if item != concept]
    stays = [item for item in others if item != replacement]
    otherwise = [template.format(concept) for template in OTHERWISE]
    found: list[dict[str, object]] = [
        {"name": concept, "kind": "own", "prompts": single_prompts(concept)},
        {"name": f"{concept} otherwise", "kind": "own", "prompts": otherwise},
    ]
    for word in PARAPHRASES[concept]:
        found.append({"name": word, "kind": "paraphrase", "prompts": single_prompts(word)})
    for other in others:
        found.append(
            {
                "name": other,
                "kind": "neighbour",
                "prompts": single_prompts(other),
                "labels": [other],
            }
        )
    together = compositions(concept, others)
    found.append({"name": "with another", "kind": "composition", "prompts": together})
    kept: dict[str, object] = {
        "name": "what it stands beside",
        "kind": "composition",
        "labels": stays,
    }
    found.append(kept | {"prompts": compositions(concept, stays)})
    found.append({"name": "unrelated", "kind": "unrelated", "prompts": list(UNRELATED)})
    return found


def compositions(item: str, others: Sequence[str]) -> list[str]:
    """The item beside each of the others, in every order and template."""
    pairs = [pair for other in others for pair in ((item, other), (other, item))]
    return [template.format(*pair) for template in PAIR for pair in pairs]


def single_prompts(word: str) -> list[str]:
    article = "an" if word[0] in "aeio" else "a"
    filled = [template.format(word) for template in SINGLE]
    return [text.replace(f"a {word}", f"{article} {word}") for text in filled]
