"""Words of the captions: Penn tags, names of colors and garments, and what is easily confused.

Weights are relative. They follow how often crowd workers write a word, as far as one can tell from
published examples; nothing here depends on a dataset.
"""

_WORDS_BY_TAG = {
    "CC": "and or",
    "CD": "one",
    "DT": "a the this no another",
    "EX": "there",
    "IN": "in on at of with over under underneath by from behind across around along as if while "
    "that near for below above past down through without toward",
    "JJ": "black white gray red pink purple blue navy green brown beige yellow orange tan khaki "
    "cream maroon violet lavender olive royal dark light bright hot off-white striped "
    "checkered plaid plain printed graphic colored long short long-sleeved short-sleeved "
    "sleeveless sleeved knee-length wide thick thin open young middle-aged old older elderly "
    "adult teenage tall slim slender heavyset stocky average medium little big bald shaved "
    "blond blonde reddish straight left right same upper lower button-down button-up collared "
    "hooded knit skinny tight cropped denim rolling athletic open-toed",
    "NN": "man woman guy lady male female boy girl person pedestrian hair ponytail bun head face "
    "neck ear chest body arm hand shoulder back side front jacket coat overcoat winter shirt "
    "t-shirt tee polo blouse top tank sweater sweatshirt pullover jumper hoodie blazer suit "
    "dress skirt cap baseball beanie hat sun scarf backpack rucksack bag handbag purse tote "
    "messenger satchel grocery shopping plastic suitcase umbrella folder binder notebook "
    "phone cell cellphone mobile smartphone pair sleeve logo print design pattern lettering "
    "writing picture leather tennis running capri pocket camera street sidewalk road path "
    "building crosswalk view length build height age nothing wall store plaza pavement",
    "NNS": "jeans pants trousers slacks leggings tights shorts capris stockings sneakers trainers "
    "shoes boots sandals flats loafers flip-flops glasses eyeglasses sunglasses headphones "
    "stripes sleeves checks feet arms hands ears shoulders sides items clothes",
    "PRP": "he she him it",
    "PRP$": "his her",
    "POS": "'s",
    "RB": "also not away forward ahead casually alone outside still together sideways",
    "RP": "up",
    "TO": "to",
    "VB": "be carry",
    "VBG": "wearing carrying holding walking standing looking talking facing pulling waiting "
    "strolling checking having",
    "VBN": "dressed tied pulled worn slung seen paired",
    "VBP": "are",
    "VBZ": "is has wears carries holds walks stands waits looks pulls appears talks uses",
}

# The usual tag of every word; where another one is meant, the markup says so.
TAG_OF = {word: tag for tag, words in _WORDS_BY_TAG.items() for word in words.split()}

COLOR_WORDS: dict[str, dict[str, float]] = {
    "black": {"black": 97, "dark": 3},
    "white": {"white": 97, "off-white": 3},
    "gray": {"gray": 78, "light gray": 10, "dark gray": 12},
    "red": {"red": 86, "bright red": 6, "dark red": 4, "maroon": 4},
    "pink": {"pink": 78, "light pink": 11, "bright pink": 6, "hot pink": 5},
    "purple": {"purple": 86, "dark purple": 6, "violet": 5, "lavender": 3},
    "blue": {"blue": 80, "light blue": 8, "bright blue": 8, "royal blue": 4},
    "navy": {"dark blue": 52, "navy blue": 32, "navy": 16},
    "green": {"green": 82, "dark green": 10, "bright green": 4, "olive green": 4},
    "brown": {"brown": 84, "dark brown": 12, "light brown": 4},
    "beige": {"beige": 40, "tan": 38, "khaki": 12, "light brown": 6, "cream colored": 4},
    "yellow": {"yellow": 86, "bright yellow": 9, "light yellow": 5},
    "orange": {"orange": 92, "bright orange": 8},
}
# What a hurried worker writes instead, looking at a small and badly lit picture.
NEAR_COLORS: dict[str, tuple[str, ...]] = {
    "black": ("navy", "gray", "brown"),
    "white": ("gray", "beige"),
    "gray": ("black", "blue", "white"),
    "red": ("orange", "pink", "brown"),
    "pink": ("red", "purple"),
    "purple": ("pink", "blue"),
    "blue": ("navy", "gray", "purple"),
    "navy": ("black", "blue", "purple"),
    "green": ("gray", "blue", "brown"),
    "brown": ("black", "beige", "red"),
    "beige": ("white", "gray", "yellow"),
    "yellow": ("orange", "beige"),
    "orange": ("red", "yellow"),
}
DENIM_WORDS: dict[str, dict[str, float]] = {
    "blue": {"blue": 78, "light blue": 16, "bright blue": 2, "medium blue": 4},
    "navy": {"dark blue": 66, "blue": 14, "dark": 14, "navy blue": 6},
}
NEAR_HAIR_COLORS: dict[str, tuple[str, ...]] = {
    "black": ("brown",),
    "brown": ("black", "red", "blond"),
    "blond": ("brown", "red"),
    "gray": ("black", "blond"),
    "red": ("brown", "blond"),
}
HAIR_WORDS: dict[str, dict[str, float]] = {
    "black": {"black": 80, "dark": 20},
    "brown": {"brown": 74, "dark brown": 14, "light brown": 12},
    "blond": {"blond": 55, "blonde": 45},
    "gray": {"gray": 76, "white": 24},
    "red": {"red": 60, "reddish brown": 25, "reddish": 15},
}

UPPER_NOUNS: dict[str, dict[str, float]] = {
    "t-shirt": {"t-shirt": 58, "shirt": 36, "tee shirt": 6},
    "shirt": {"shirt": 66, "button-down shirt": 14, "button-up shirt": 10, "collared shirt": 10},
    "polo shirt": {"polo shirt": 48, "shirt": 26, "polo": 12, "collared shirt": 14},
    "tank top": {"tank top": 68, "sleeveless shirt": 16, "sleeveless top": 16},
    "sweater": {"sweater": 62, "sweatshirt": 22, "pullover": 12, "jumper": 4},
    "hoodie": {"hoodie": 58, "hooded sweatshirt": 26, "sweatshirt": 16},
    "jacket": {"jacket": 88, "coat": 12},
    "coat": {"coat": 66, "jacket": 16, "overcoat": 8, "winter coat": 10},
    "suit jacket": {"suit jacket": 46, "blazer": 34, "jacket": 20},
    "dress": {"dress": 100},
}
# Nouns that are written of women's clothes in place of the ones above.
UPPER_NOUNS_FEMALE: dict[str, dict[str, float]] = {
    "t-shirt": {"t-shirt": 44, "shirt": 36, "top": 20},
    "shirt": {"shirt": 46, "blouse": 34, "top": 12, "button-down shirt": 8},
    "tank top": {"tank top": 66, "sleeveless top": 24, "top": 10},
}
INNER_NOUNS: dict[str, float] = {"shirt": 56, "t-shirt": 34, "top": 10}
LOWER_NOUNS: dict[str, dict[str, float]] = {
    "jeans": {"jeans": 78, "denim jeans": 8, "pants": 14},
    "trousers": {"pants": 66, "trousers": 23, "slacks": 11},
    "leggings": {"leggings": 56, "tights": 14, "tight pants": 18, "skinny pants": 12},
    "shorts": {"shorts": 94, "short pants": 6},
    "capri pants": {"capri pants": 48, "capris": 18, "cropped pants": 24, "pants": 10},
    "skirt": {"skirt": 100},
}
SHOE_NOUNS: dict[str, dict[str, float]] = {
    "sneakers": {
        "sneakers": 38,
        "shoes": 26,
        "tennis shoes": 16,
        "running shoes": 8,
        "trainers": 6,
        "athletic shoes": 6,
    },
    "leather shoes": {"shoes": 52, "dress shoes": 26, "leather shoes": 14, "loafers": 8},
    "boots": {"boots": 88, "leather boots": 12},
    "sandals": {"sandals": 78, "flip-flops": 12, "open-toed shoes": 10},
}
SHOE_NOUNS_FEMALE: dict[str, dict[str, float]] = {
    "leather shoes": {"shoes": 54, "flats": 26, "leather shoes": 10, "dress shoes": 10},
}
HEADWEAR_NOUNS: dict[str, dict[str, float]] = {
    "cap": {"cap": 44, "baseball cap": 40, "hat": 16},
    "beanie": {"beanie": 44, "knit hat": 22, "knit cap": 20, "winter hat": 14},
    "hat": {"hat": 88, "sun hat": 12},
}
CARRIED_NOUNS: dict[str, dict[str, float]] = {
    "backpack": {"backpack": 86, "rucksack": 4, "bag": 10},
    "handbag": {"handbag": 46, "purse": 26, "bag": 28},
    "shoulder bag": {"shoulder bag": 36, "bag": 36, "tote bag": 10, "purse": 18},
    "messenger bag": {"messenger bag": 46, "bag": 22, "satchel": 12, "shoulder bag": 20},
    "plastic bag": {"plastic bag": 56, "shopping bag": 22, "grocery bag": 6, "bag": 16},
    "suitcase": {"suitcase": 78, "rolling suitcase": 22},
    "umbrella": {"umbrella": 100},
    "folder": {"folder": 64, "notebook": 20, "binder": 16},
    "phone": {"phone": 48, "cell phone": 32, "cellphone": 8, "mobile phone": 8, "smartphone": 4},
}
