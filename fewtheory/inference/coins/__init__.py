"""Answers yes and no as coins: are they fair, and without memory? (`binary-bias`)"""
