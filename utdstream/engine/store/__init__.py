"""What the engine keeps: the contract, and the databases that fulfil it."""
