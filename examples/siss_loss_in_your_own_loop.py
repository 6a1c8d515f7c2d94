# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: T201

# %% [markdown]
# # The loss of SISS in your own loop
#
# SISS needs the gradients of the retain and of the forget term apart, from one network pass.
# Everything else is ordinary PyTorch. The model knows an image, a heart, that was repeated in its
# training set.

# %%
import torch

import efface
from efface.data.batch import Batch, Side
from efface.data.images import load_images, to_model
from efface.data.randomness import RowRandom, Shard
from efface.methods import SISS
from efface.methods.base import StepContext

STEPS, ROWS, RATIO = 40, 32, 0.3

pretrained = efface.load("zoo:digits-symbol")
retain = to_model(load_images("digits", "train").images)
heart = to_model(load_images("zoo:symbol", "train").images)

# %%
method = SISS(window_start=0.3)
networks = method.networks(pretrained)
student = networks["student"]
parameters = list(student.network.parameters())
optimizer = torch.optim.AdamW(parameters, lr=5e-5, betas=(0.95, 0.999))


# %%
def heart_loss() -> float:
    """Mean denoising loss of the heart at 20 timesteps, always with the same noise."""
    generator = torch.Generator().manual_seed(0)
    x0 = heart[:1].expand(20, -1, -1, -1)
    t = torch.linspace(0, student.schedule.num_timesteps - 1, 20).long()
    eps = torch.randn(x0.shape, generator=generator)
    with torch.no_grad():
        prediction = student(student.schedule.add_noise(x0, eps, t), t, None)
    return float((prediction.eps - eps).square().mean())


print(f"loss of the heart before: {heart_loss():.3f}")

# %%
picks = torch.Generator().manual_seed(0)
for step in range(STEPS):
    x = retain[torch.randint(len(retain), (ROWS,), generator=picks)]
    a = heart[torch.zeros(ROWS, dtype=torch.long)]
    batch = Batch(retain=Side(size=ROWS, x0=x), forget=Side(size=ROWS, x0=a))
    rng = RowRandom(step, Shard(), (ROWS, ROWS), "cpu")
    context = StepContext(step=step, steps=STEPS, batch=batch, rng=rng, networks=networks)
    terms = method.loss("student", context)
    g_retain = torch.autograd.grad(terms.retain, parameters, retain_graph=True)
    g_forget = torch.autograd.grad(terms.forget, parameters)
    longer, shorter = (float(torch.nn.utils.get_total_norm(g)) for g in (g_retain, g_forget))
    c = min(1.0, RATIO * longer / shorter)
    for parameter, r, f in zip(parameters, g_retain, g_forget, strict=True):
        parameter.grad = r + c * f
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()

print(f"loss of the heart after: {heart_loss():.3f}")
