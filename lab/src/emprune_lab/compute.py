"""Where a run computes, and in what precision."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from emprune.errors import ConfigError

__all__ = ["DEVICES", "PRECISIONS", "Compute"]

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Compute:
    """A device and a precision, both decided."""

    device: torch.device
    precision: str

    @classmethod
    def choose(cls, device: str, precision: str) -> "Compute":
        """Return what `auto` means here: a GPU if there is one, bf16 wherever the processor has it in hardware.

        Raises:
            ConfigError: If there is no such device.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("`device` is 'cuda', but torch sees no GPU here. Use 'cpu' or 'auto'.")
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if precision == "auto":
            precision = "bf16" if _computes_bf16(chosen) else "fp32"
        return cls(torch.device(chosen), precision)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context the forward pass runs in."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def describe(self) -> str:
        """Return the device's name."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        capabilities = getattr(torch.cpu, "get_capabilities", dict[str, object])()
        return str(capabilities.get("cpu_name") or torch.backends.cpu.get_cpu_capability())

    def synchronize(self) -> None:
        """Wait for the device, so that a clock read next tells the truth."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _computes_bf16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    asked = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(bool(ask()) for ask in asked if ask is not None)
