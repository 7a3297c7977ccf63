"""What does it take?"""
