# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: T201

# %% [markdown]
# # Forget a digit
#
# `zoo:digits` is a small class-conditional model of 8x8 digits that ships with Efface. It forgets
# the digit 4 and generates a 9 instead. No data is read.

# %%
import matplotlib.pyplot as plt
import torch

import efface
from efface.diffusion.sampling import MultiStep, OneStep, draw_images

request = efface.ForgetClass(labels=(4,), replacement=(9,))

# %% [markdown]
# The recipe `digits-sfd` has 1,200 steps. Leave `changes` out for the real result, which takes
# several minutes.

# %%
changes = [
    "train.steps=30",
    "evaluate.forget_samples=50",
    "evaluate.retain_samples=90",
    "evaluate.guidance=1",
    "evaluate.baseline_steps=10",
]
run = efface.forget("zoo:digits", request, "runs/no-four", recipe="digits-sfd", changes=changes)

# %% [markdown]
# Every figure stands beside the original model's, measured in the same way.

# %%
evaluation = efface.evaluate(run)
for name in ("class_rate", "retained_accuracy", "recall"):
    figure = evaluation.get(name)
    print(f"{figure.spec.label}: {figure.value:.3f} (original model: {figure.baseline.value:.3f})")

# %% [markdown]
# Samples from the same noise: above 20 DDIM steps of the original model, below one step of the
# result.

# %%
labels = [2, 3, 4, 5, 9]
seeds = range(len(labels))
original, student = efface.load("zoo:digits"), efface.load(run)
one_step = OneStep(student.schedule.num_timesteps - 1)
rows = [
    draw_images(original, MultiStep(20), original.encode(labels), seeds),
    draw_images(student, one_step, student.encode(labels), seeds),
]
figure, axes = plt.subplots(2, len(labels), figsize=(6, 2.6))
for axis, image in zip(axes.flat, torch.cat(rows), strict=True):
    axis.imshow(image[0], cmap="gray")
    axis.set_axis_off()
figure.savefig("digits.png")
