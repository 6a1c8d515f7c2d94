"""A pipeline for class-conditional pixel models, needing diffusers and torch alone.

This file travels with a saved model as `pipeline.py`:

    pipe = DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)
    images = pipe(class_labels=[3, 7], generator=torch.Generator().manual_seed(0)).images
"""

import inspect

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor


class ClassConditionalPipeline(DiffusionPipeline):
    """Draws images for class labels with a network in pixel space and its scheduler.

    `null_label` is the label that means "no class" (None: the model takes no guidance);
    `default_steps` is what the weights were made for, 1 for a one-step generator; `input_scale`
    is the standard deviation of the noise that they start from; `id2label` are names of labels.
    """

    model_cpu_offload_seq = "unet"

    def __init__(
        self,
        unet,
        scheduler,
        null_label=None,
        default_steps=50,
        input_scale=1.0,
        id2label=None,
    ):
        super().__init__()
        if str(scheduler.config.get("variance_type")).startswith("learned"):
            # A variance that the network learned is not passed on: steps take the fixed one.
            scheduler = type(scheduler).from_config(scheduler.config, variance_type="fixed_small")
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(
            null_label=null_label,
            default_steps=default_steps,
            input_scale=input_scale,
            id2label=id2label,
        )

    @torch.no_grad()
    def __call__(
        self,
        class_labels,
        guidance_scale=1.0,
        num_inference_steps=None,
        generator=None,
        latents=None,
        output_type="pil",
        return_dict=True,
    ):
        """Images for `class_labels`, from `latents` (unit Gaussian noise) where they are given."""
        device = self._execution_device
        labels = torch.as_tensor(class_labels, dtype=torch.long, device=device).reshape(-1)
        if guidance_scale != 1.0 and self.config.null_label is None:
            raise ValueError("This model has no null class: use guidance_scale=1.")
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        shape = (len(labels), self.unet.config.in_channels, height, width)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=device, dtype=self.unet.dtype)
        self.scheduler.set_timesteps(num_inference_steps or self.config.default_steps)
        sample = latents.to(device) * (self.config.input_scale * self.scheduler.init_noise_sigma)
        random = "generator" in inspect.signature(self.scheduler.step).parameters
        options = {"generator": generator} if random else {}
        for t in self.progress_bar(self.scheduler.timesteps):
            model_input = self.scheduler.scale_model_input(sample, t)
            if guidance_scale == 1.0:
                output = self._output(model_input, t, labels)
            else:
                null = torch.full_like(labels, self.config.null_label)
                both = self._output(
                    torch.cat([model_input, model_input]), t, torch.cat([null, labels])
                )
                unconditional, conditional = both.chunk(2)
                output = unconditional + guidance_scale * (conditional - unconditional)
            sample = self.scheduler.step(output, t, sample, **options).prev_sample
        images = sample.clamp(-1, 1).add(1).div(2)
        if output_type == "pt":
            pass
        elif output_type in ("np", "pil"):
            images = images.cpu().permute(0, 2, 3, 1).float().numpy()
            if output_type == "pil":
                images = self.numpy_to_pil(images)
        else:
            raise ValueError(f"output_type {output_type!r} is unknown: use 'pil', 'np' or 'pt'.")
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _output(self, model_input, t, labels):
        rows = t.expand(len(labels)).to(labels.device)  # transformers take no single number
        output = self.unet(model_input, rows, class_labels=labels).sample
        # A network that also learns a variance returns it in further channels.
        return output[:, : model_input.shape[1]]
