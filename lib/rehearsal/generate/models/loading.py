"""What serves a segment, of the parts it is stored in. Imports torch where it is a network."""

from collections.abc import Sequence

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.models.generator import Generator, load_generator
from rehearsal.generate.models.layout import Layout
from rehearsal.generate.models.synthesizer import Synthesizer


def load_segment_generator(
    kind: str, layout: Layout, base: bytes, added: bytes | None
) -> Generator:
    """Return the generator of all segments, with what a segment adds to it merged in.

    Args:
        kind: of the generator.
        layout: of the codec.
        base: `to_bytes` of the generator of all segments.
        added: what the segment adds; None: nothing.

    Raises:
        ModelError: the bytes are damaged or not of one fit.
    """
    generator = load_generator(kind, layout, base)
    if added is None:
        return generator
    from rehearsal.generate.models.adapter import with_adapter
    from rehearsal.generate.models.vae import ConditionalVAE

    if not isinstance(generator, ConditionalVAE):
        raise TypeError(f"a {kind} takes no adapters")
    return with_adapter(generator, added)


def load_synthesizer(
    kind: str, codec: Codec, base: bytes, added: bytes | None, profile: Sequence[float]
) -> Synthesizer:
    """Return the synthesizer of a segment.

    Args:
        kind: of the generator.
        codec: its codec.
        base: `to_bytes` of the generator of all segments.
        added: what the segment adds; None: nothing.
        profile: the segment on the generator's axes.

    Raises:
        ModelError: the bytes are damaged or not of one fit.
    """
    generator = load_segment_generator(kind, codec.layout(len(profile)), base, added)
    return Synthesizer(codec, generator, profile)
