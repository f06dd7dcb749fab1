"""The machine: cameras, sound cards, buttons, processes. Uses the SDK as any customer would."""
