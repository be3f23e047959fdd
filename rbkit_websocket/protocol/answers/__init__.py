"""What commands answer: one type for each map, by subject. What a key holds, in which unit, and what None means stands
beside it and nowhere else: the documentation and the front end's types are made from here.

A tuple is a MessagePack array of that length, so a list once it has been read.
"""
