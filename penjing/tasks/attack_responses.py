"""Every attack on judges, in one list."""

from penjing.tasks.attack_characters import character_attacks
from penjing.tasks.attack_claims import claim_attacks
from penjing.tasks.attack_floods import flood_attacks
from penjing.tasks.attack_numbers import number_attacks
from penjing.tasks.attack_programs import program_attacks
from penjing.tasks.attack_structures import structure_attacks
from penjing.tasks.attack_text import Attack


def all_attacks() -> tuple[Attack, ...]:
    """Group and name together tell them apart."""
    return (
        *claim_attacks(),
        *structure_attacks(),
        *number_attacks(),
        *character_attacks(),
        *flood_attacks(),
        *program_attacks(),
    )
