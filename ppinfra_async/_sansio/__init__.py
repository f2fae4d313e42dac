"""Everything that decides: values in, values out; refuses I/O, clocks, random numbers and async."""
