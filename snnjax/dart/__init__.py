"""DART: a classifier of event recordings without a network (Ramesh et al. 2020).

Each event is described by where the events before it lie, in rings and wedges around it
(`snnjax.dart.descriptor`). The descriptors of a recording are counted as words of a codebook
(`snnjax.dart.bag_of_words`), and a linear classifier reads the counts (`snnjax.dart.classifier`).
``python -m snnjax.tools.dart`` trains and evaluates it.
"""
