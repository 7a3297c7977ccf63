"""How is it run?"""
