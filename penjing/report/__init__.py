"""What a run said and did, on one page."""
