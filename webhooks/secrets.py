"""The secrets of endpoints at rest: sealed as all of ours are, see `common.sealing`."""

from common.sealing import UnreadableSecretError, is_fresh, reseal, seal, unseal

__all__ = ["UnreadableSecretError", "is_fresh", "reseal", "seal", "unseal"]
