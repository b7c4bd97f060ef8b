"""DART: a classifier of event recordings without a neural network (Ramesh et al. 2020).

The descriptor of an event counts the latest events in rings and wedges around it
(`snnjax.dart.descriptor`). The descriptors of a recording are replaced by the nearest words of a
codebook and counted (`snnjax.dart.bag_of_words`). A linear classifier is trained on the counts
(`snnjax.dart.classifier`). ``python -m snnjax.tools.dart`` trains and evaluates it.
"""
