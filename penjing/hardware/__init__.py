"""What chips are there?"""
