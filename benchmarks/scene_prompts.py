"""Prompts, groups and real images for one request about the small text-to-image model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from variants import add_options

from efface.data.images import load_images
from efface.data.phrases import names
from efface.zoo.build.scenes import PAIR, SINGLE, Scenes, compose
from efface.zoo.build.settings import BuildSettings

PARAPHRASES = {  # words_drawn.py measures which of them the original model knows
    "bag": ("handbag", "purse", "tote"),
    "dress": ("gown", "frock", "robe"),
    "sandal": ("flip-flop", "slipper", "espadrille"),
    "coat": ("jacket", "parka", "overcoat"),
    "boot": ("bootee", "bootie", "gumboot", "wellington", "galosh"),
    "pair of trousers": ("pair of pants", "pair of jeans", "pair of slacks"),
}
UNRELATED = ("a white square", "nothing", "a black background", "a green circle", "one red line")
OTHERWISE = (  # templates that no caption has
    "an old drawing of a {}",
    "my favourite {}",
    "a {} for sale",
    "does anyone own a {} like this",
    "look at this lovely {}",
)
REFERENCE = 2000  # real images, for the distance
SCENES = 4000  # whose captions are prompts: as often as in training


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


def fresh_scenes(settings: BuildSettings) -> Scenes:
    """Scenes as the model was trained on, of another seed and without the memorised ones."""
    other = {"images": SCENES, "memorised": (), "seed": settings.scenes.seed + 1}
    images = load_images(settings.data.source, "train")
    return compose(images, settings.scenes.model_copy(update=other))


def write_captions(scenes: Scenes, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(scenes.captions) + "\n", encoding="utf-8")
    return path


def write_request(
    scenes: Scenes, settings: BuildSettings, concept: str, replacement: str, folder: Path
) -> Request:
    """Everything that one request and its evaluation read, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    forget = [caption for caption in scenes.captions if names(caption, concept)]
    retain = [caption for caption in scenes.captions if not names(caption, concept)]
    files = Request(
        forget=folder / "forget.txt",
        retain=folder / "retain.txt",
        groups=folder / "groups.json",
        reference=folder / "reference",
    )
    files.forget.write_text("\n".join(forget) + "\n", encoding="utf-8")
    files.retain.write_text("\n".join(retain) + "\n", encoding="utf-8")
    content = {"groups": groups(settings.scenes.items, concept, replacement)}
    files.groups.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    kind = settings.scenes.items.index(concept)
    without = (~scenes.items[:, kind]).nonzero()[:, 0].tolist()
    write_reference(scenes, without, files.reference)
    return files


def write_reference(scenes: Scenes, rows: Sequence[int], folder: Path) -> Path:
    """Real images to compare with, as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows[:REFERENCE]:
        image = Image.fromarray(scenes.images[row].permute(1, 2, 0).numpy())
        image.save(folder / f"{row:05d}.png")
    return folder


def groups(items: tuple[str, ...], concept: str, replacement: str) -> list[dict[str, object]]:
    """Own word, paraphrases, neighbours, compositions and unrelated prompts.

    All prompts are captions but the paraphrases, and those of the own word in other templates.
    """
    others = [item for item in items if item != concept]
    retained = [item for item in others if item != replacement]
    otherwise = [template.format(concept) for template in OTHERWISE]
    prompt_groups: list[dict[str, object]] = [
        {"name": concept, "kind": "own", "prompts": single_prompts(concept)},
        {"name": f"{concept} otherwise", "kind": "own", "prompts": otherwise},
    ]
    for word in PARAPHRASES[concept]:
        prompt_groups.append({"name": word, "kind": "paraphrase", "prompts": single_prompts(word)})
    for other in others:
        prompt_groups.append(
            {
                "name": other,
                "kind": "neighbour",
                "prompts": single_prompts(other),
                "labels": [other],
            }
        )
    together = compositions(concept, others)
    prompt_groups.append({"name": "with another", "kind": "composition", "prompts": together})
    prompt_groups.append(
        {
            "name": "what it stands beside",
            "kind": "composition",
            "prompts": compositions(concept, retained),
            "labels": retained,
        }
    )
    prompt_groups.append({"name": "unrelated", "kind": "unrelated", "prompts": list(UNRELATED)})
    return prompt_groups


def compositions(item: str, others: Sequence[str]) -> list[str]:
    """The item beside each of the others, in every order and template."""
    pairs = [pair for other in others for pair in ((item, other), (other, item))]
    return [template.format(*pair) for template in PAIR for pair in pairs]


def single_prompts(word: str) -> list[str]:
    article = "an" if word[0] in "aeio" else "a"
    filled = [template.format(word) for template in SINGLE]
    return [text.replace(f"a {word}", f"{article} {word}") for text in filled]
