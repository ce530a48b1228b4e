"""Published numbers of Li, Yong and Bach (2024) on mGPT and on transfer (docs/papers.md)."""

# [layer, neuron] of the actual sources of toxicity: assets/actual_sources_of_toxicity.pkl. Their table 4 prints 3137
# for 3173.
SOURCES = [
    (13, 2337), (14, 6878), (14, 5723), (9, 6517), (12, 6538), (12, 6639), (3, 5794), (13, 3368), (1, 2583),
    (13, 7176), (23, 5888), (8, 7612), (11, 7033), (11, 4277), (18, 486), (16, 3531), (17, 520), (12, 3431), (5, 53),
    (10, 4641), (3, 3173), (7, 3971), (16, 4702), (17, 2392), (16, 4689), (21, 7155), (0, 7248), (17, 3530),
    (23, 2675), (11, 3027), (10, 8010), (10, 2127), (15, 594), (10, 7751), (10, 4920), (14, 7052),
]  # fmt: skip
LAYERS, NEURONS = 24, 8192  # of mGPT

# language -> mean activation of these before and after DPO: assets/neuron-activations.pkl
ACTIVATIONS = {
    "ar": (0.0128, -0.0313), "cs": (-0.0187, -0.0270), "de": (0.0814, -0.0027), "en": (0.1040, -0.0047),
    "es": (0.0670, -0.0112), "fr": (0.0754, 0.0034), "hi": (0.0207, -0.0303), "id": (0.0433, -0.0086),
    "it": (0.0425, -0.0133), "ja": (0.0667, -0.0206), "ko": (0.0297, -0.0193), "nl": (0.0606, -0.0125),
    "pl": (0.0407, -0.0105), "pt": (0.0674, 0.0033), "ru": (0.0682, -0.0085), "sv": (0.0696, -0.0042),
    "zh": (0.0594, 0.0138),
}  # fmt: skip

# model -> Pearson's r of the aligned cosine with the relative fall of toxicity over 16 languages. The paper says
# p < .01 of each; the last number is the p-value of this r with n = 16.
CORRELATIONS = {
    "mGPT": (0.73, 0.0013),
    "BLOOM-1.7B": (0.59, 0.016),
    "BLOOM-7.1B": (0.66, 0.0054),
    "Llama-2-7B": (0.78, 0.0004),
}
