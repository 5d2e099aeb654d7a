"""Damage GGUF files in every way and use them as a person would: nothing may end the process.

    python scripts/fuzz_gguf.py --cases 20000 --seed 0 --jobs 2

Each case changes keys, counts, types, shapes or bytes of a tiny model of one of several
architectures (or of its adapter) and takes the whole way: our reader, a child that tries the file,
and, if that came through, the load, the texts and the decoding that a session does. What the child
dies of is no fault: it is there for that. A signal afterwards is, and so is any exception that is
not one of ours. `--seed S --cases 1` runs that case alone.
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
import sys
import tempfile
from pathlib import Path

# Behind the installed package, which is the one that has the native library.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from scripts.fuzzing import in_child, options, run

KINDS = ("llama-bpe", "llama-spm", "qwen2-bpe", "qwen3-bpe", "llama-none", "adapter")
# The sanitizer (scripts/build_sanitized) maps terabytes, which no bound would hold.
UNDER_ASAN = "libasan" in os.environ.get("LD_PRELOAD", "")
NUMBERS = (0, 1, 2, 3, 7, 63, 65, 255, 513, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def main() -> None:
    given = options(__doc__ or "", timeout_s=120)
    with tempfile.TemporaryDirectory() as folder:
        run(given, lambda seeds: use_all(Path(folder), seeds))


def write_models(folder: Path) -> dict[str, Path]:
    """Whole, working files of every kind."""
    from tests.native import vocabularies

    return {kind: vocabularies.write(folder / f"{kind}.gguf", kind) for kind in KINDS}


def damaged(draw: random.Random, data: bytes) -> bytes:
    """`data` with one to three changes, most of them in the header."""
    changed = bytearray(data)
    spots = [at for at in _keys(data)]
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        match draw.randrange(8):
            case 0 | 1 | 2 if spots:
                # The value of a key: 4 or 8 bytes after its type.
                at, size = draw.choice(spots)
                number = draw.choice((*NUMBERS, draw.getrandbits(64))) % (1 << (8 * size))
                changed[at : at + size] = number.to_bytes(size, "little")
            case 3:
                at = draw.randrange(24)
                changed[at] = draw.randrange(256)
            case 4:
                at = draw.randrange(max(1, len(changed) // 3))
                changed[at : at + 4] = struct.pack("<I", draw.choice(NUMBERS) % 2**32)
            case 5:
                at = draw.randrange(len(changed))
                changed[at] ^= 1 << draw.randrange(8)
            case 6:
                del changed[draw.randrange(len(changed)) :]
                changed = changed or bytearray(b"G")
            case _:
                at = draw.randrange(max(1, len(changed) // 2))
                del changed[at : at + draw.choice((1, 4, 8))]
    return bytes(changed)


def renamed(draw: random.Random, data: bytes) -> bytes:
    """`data` without one of its keys: its name is another one of the same length."""
    names = [name for name in _names(data) if len(name) > 4]
    if not names:
        return data
    name = draw.choice(names)
    return data.replace(name, b"x" * len(name), 1)


def _names(data: bytes) -> list[bytes]:
    return [name for name, _, _, _ in _table(data)]


def _keys(data: bytes) -> list[tuple[int, int]]:
    """Place and size of every scalar value and array length."""
    return [(at, size) for _, _, at, size in _table(data)]


def _table(data: bytes) -> list[tuple[bytes, int, int, int]]:
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    found = []
    with contextlib.suppress(struct.error, KeyError):
        count, at = struct.unpack_from("<Q", data, 16)[0], 24
        for _ in range(min(count, 1000)):
            length = struct.unpack_from("<Q", data, at)[0]
            name = data[at + 8 : at + 8 + length]
            at += 8 + length
            kind = struct.unpack_from("<I", data, at)[0]
            at += 4
            if kind == 8:
                found.append((name, kind, at, 8))
                at += 8 + struct.unpack_from("<Q", data, at)[0]
            elif kind == 9:
                inner, n = struct.unpack_from("<IQ", data, at)
                found.append((name, kind, at + 4, 8))
                at += 12
                for _ in range(n):
                    at += 8 + struct.unpack_from("<Q", data, at)[0] if inner == 8 else sizes[inner]
            else:
                found.append((name, kind, at, sizes[kind]))
                at += sizes[kind]
    return found


def use_all(folder: Path, seeds: range):
    """Go through the cases of `seeds`; yields each seed before its case."""
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    from edge_audiokv.native import context, library, probe  # noqa: F401  once, before all forks

    library.load()
    home = folder / str(os.getpid())
    home.mkdir()
    models = {kind: path.read_bytes() for kind, path in write_models(home).items()}
    for seed in seeds:
        yield seed
        draw = random.Random(seed)
        kind = draw.choice(KINDS)
        change = renamed if draw.random() < 0.2 else damaged
        path, lora = home / "case.gguf", None
        if kind == "adapter":
            path.write_bytes(models["llama-bpe"])
            lora = home / "lora.gguf"
            lora.write_bytes(change(draw, models[kind]))
        else:
            path.write_bytes(change(draw, models[kind]))
        use(path, lora)


def use(path: Path, lora: Path | None) -> None:
    """Our reader, the child, and then what a session does. AssertionError is a fault."""
    from edge_audiokv.errors import EdgeAudioKVError
    from edge_audiokv.models.gguf import read_header
    from edge_audiokv.models.tried import bound
    from edge_audiokv.models.usable import check_usable
    from edge_audiokv.native.probe import _try

    try:
        for each in filter(None, (path, lora)):
            check_usable(read_header(each, check_tokens=True))
    except EdgeAudioKVError as error:
        assert "\n" not in str(error), error
        return
    bearable = (MemoryError,)

    def first_try() -> None:
        if not UNDER_ASAN:
            bound([path])
        _try(path, lora)

    if in_child(first_try, within_s=60, bearable=bearable) != 0:
        return  # refused, or the child died of it
    code = in_child(lambda: _session(path, lora), within_s=60, bearable=bearable)
    assert code in (0, 1), f"{path}: a session ends with {code}"


def _session(path: Path, lora: Path | None) -> None:
    import numpy as np

    from edge_audiokv.native.context import HeadwiseContext
    from edge_audiokv.native.model import Model

    with Model(path, lora=lora) as model:
        texts = ("<|im_start|>user\n", "What was said, \u4e2d\u6587 \U0001f600?", "", "\n\n a\tb")
        ids = [token for text in texts for token in model.tokenize(text)]
        with HeadwiseContext(model, 128, n_batch=32, n_threads=1) as context:
            context.decode_embeddings(np.ones((8, model.n_embd), np.float32), score=True)
            for _ in range(3):
                logits = context.decode_tokens(ids[:8] or [0])
                assert logits is not None
                model.piece(int(np.nan_to_num(logits).argmax()))
            context.truncate(4)


if __name__ == "__main__":
    main()
