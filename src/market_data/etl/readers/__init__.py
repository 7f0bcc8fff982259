"""Files and HTTP bodies become chunks of rows in bounded memory, and rows become series of `RawBars`.

`format` names what can be read, one module reads each format, `rows` gives the columns their meaning.
"""
