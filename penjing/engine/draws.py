"""Random numbers without a state: each is a function of where it is used.

A token's draw depends on its request's seed, the index of the sample and the position, never on
what else runs, so that a sample comes out alike in any batch, after a preemption and on another
machine. ``splitmix`` is the output function of SplitMix64 (Steele, Lea and Flood, "Fast Splittable
Pseudorandom Number Generators", OOPSLA 2014), in whole-number arithmetic, hence the same anywhere.
"""

_GAMMA = 0x9E3779B97F4A7C15  # the odd number nearest 2^64 over the golden ratio
_MASK = 2**64 - 1


def splitmix(state: int, step: int) -> int:
    """Output ``step`` (from 0) of the generator seeded with ``state``: 64 bits.

    Whole numbers of any size and sign are taken modulo 2^64.
    """
    z = (state + (step + 1) * _GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def uniform(seed: int, sample: int, position: int) -> float:
    """A number in [0, 1), of 53 bits, for one token; ``position`` counts generated tokens.

    Positions of a sample are one stream of SplitMix64. Streams start at outputs two levels deep,
    as neighbouring seeds, unhashed, would run through the same stream.
    """
    stream = splitmix(splitmix(seed, 0), sample)
    return float(splitmix(stream, position) >> 11) * 2.0**-53
