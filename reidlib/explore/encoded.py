"""What a finished run's model makes of the pictures that are searched: encoded once, then read."""

import contextlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from reidlib.errors import StoreError
from reidlib.experiment import Experiment, hash_json
from reidlib.files import write_atomic
from reidlib.models.attention_driven import AttentionDriven
from reidlib.models.gla import GLA
from reidlib.papers.attention_driven import method as attention_driven
from reidlib.papers.gla.method import phi
from reidlib.papers.image_to_image import Searched, encode
from reidlib.run.plan import key_of
from reidlib.run.session import Session
from reidlib.run.source import source_of
from reidlib.run.store import WEIGHTS


def encode_searched(model: nn.Module, data: Searched, feature: str = "") -> tuple[Tensor, Tensor]:
    """Embeddings of queries and gallery, float32 (Q, d) and (N, d), that persons are searched by.

    feature: which of Attention Driven's `EVALUATIONS`; "" is the first of them.
    """
    if isinstance(model, AttentionDriven):
        name = feature or attention_driven.EVALUATIONS[0]
        query, gallery = (
            attention_driven.embeddings(model, split)[name] for split in (data.query, data.gallery)
        )
        return query, gallery
    embed = phi(model) if isinstance(model, GLA) else model.embed
    return encode(embed, data.query), encode(embed, data.gallery)


def of_finished(
    session: Session, experiment: Experiment, model: nn.Module, data: Any, feature: str = ""
) -> tuple[Tensor, Tensor]:
    """`encode_searched` of a run that is finished here; the results' cache keeps what it gives.

    A file stands for one content of weights, one source and one kind of device; data are part of
    the run's key. One that is not there, cannot be read or is of before is made again.
    """
    run = session.store.load_trained(key_of(session, experiment))
    device = data.query.images.device
    of = f"embeddings-{run.key}-{hash_json([feature, device.type], digits=4)}"
    state = hash_json([run.metrics["files"][WEIGHTS], source_of(experiment)], digits=12)
    path = session.cache / f"{of}-{state}.safetensors"
    sizes = [len(split.frame) for split in (data.query, data.gallery)]
    found = _read(path, device)
    if found is None or [len(each) for each in found] != sizes:
        found = encode_searched(model, data, feature)
        content = {
            name: each.cpu().contiguous()
            for name, each in zip(("query", "gallery"), found, strict=True)
        }
        with contextlib.suppress(StoreError):  # a full disk: it is encoded again next time
            write_atomic(path, save(content))
            for old in set(session.cache.glob(f"{of}-*")) - {path}:
                old.unlink(missing_ok=True)
    return found


def _read(path: Path, device: torch.device) -> tuple[Tensor, Tensor] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            return file.get_tensor("query"), file.get_tensor("gallery")
    except (SafetensorError, OSError, RuntimeError):
        return None
