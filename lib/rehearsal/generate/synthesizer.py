"""A fitted synthesizer ready to sample. Imports torch: use where the work runs."""

import numpy as np
import pandas as pd
import torch

from rehearsal.errors import ModelError
from rehearsal.generate.encode import Codec
from rehearsal.generate.numeric import Codes
from rehearsal.generate.vae import ConditionalVAE, NetworkShape, from_bytes


class Synthesizer:
    """A codec and the network over its token columns."""

    def __init__(self, codec: Codec, network: ConditionalVAE) -> None:
        if codec.sizes != network.shape.sizes:
            raise ModelError(
                f"the network was trained on token columns of sizes {network.shape.sizes}, "
                f"the codec makes {codec.sizes}; they are not of the same fit"
            )
        self.codec = codec
        self.network = network

    @classmethod
    def load(cls, codec_json: str, network_json: str, weights: bytes) -> "Synthesizer":
        """Return the synthesizer of a row of `synthesizers`."""
        shape = NetworkShape.from_json(network_json)
        return cls(Codec.from_json(codec_json), from_bytes(shape, weights))

    def sample(self, conditions: Codes, seed: int) -> pd.DataFrame:
        """Return the generated columns, one row per row of `conditions`, fixed by `seed`.

        Args:
            conditions: codes of the condition columns, shape (n, n_conditions).
            seed: of everything drawn.
        """
        torch.set_num_threads(1)
        given = torch.from_numpy(np.ascontiguousarray(conditions, dtype=np.int64))
        tokens = self.network.sample(given, torch.Generator().manual_seed(seed))
        return self.codec.decode(tokens.numpy(), np.random.default_rng(seed))
