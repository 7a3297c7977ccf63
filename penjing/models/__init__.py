"""What do we run?"""
