"""`utdstream demo`: a door process calls a house process on the real servers, and the call is measured.

Owns: the demonstration. It uses the SDK as any customer would: public modules, and `testing.LocalStack`.
`parent` runs it, `door` and `house` are the two children, `measure` turns what they recorded into figures.
"""
