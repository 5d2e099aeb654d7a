"""Speech that repeats a phrase or a sentence: is it written as often as it was said?"""
