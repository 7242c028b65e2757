"""Learners over episodes on torch, in `_torch`: MAML, ProtoNet, and what the hierarchy shares."""
