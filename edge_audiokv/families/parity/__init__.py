"""Does a converted model compute what its checkpoint computes with transformers?"""
