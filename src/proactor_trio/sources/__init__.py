"""What a run's proactor hears of, as async iterators and context managers: messages, events, relays."""
