"""Caches in the ledger: what they take, where it lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_audiokv.engine.cache import HeadCache
from edge_audiokv.kv.memory import Ledger


def count_caches(
    ledger: Ledger, caches: Sequence[HeadCache], compute_bytes: Callable[[], int]
) -> None:
    """Put pools and the rest into `ledger`, each where it lies; `compute_bytes` is what the rest
    takes of the machine's memory. The caches lie in one place.
    """
    contexts = [cache.context for cache in caches]

    def pool_bytes() -> int:
        return sum(context.pool_nbytes for context in contexts)

    def host_pool_bytes() -> int:
        return sum(context.host_pool_nbytes for context in contexts)

    def there_bytes() -> int:
        return sum(context.device_nbytes for context in contexts)

    there = not host_pool_bytes()
    (ledger.add_on_device if there else ledger.add)("KV pools", pool_bytes)
    if there_bytes():
        ledger.add_on_device("compute", lambda: there_bytes() - (pool_bytes() - host_pool_bytes()))
    ledger.add("compute", compute_bytes)
