"""How common colors, garments and patterns are: relative chances, set once by eye."""

# Chances of a color; what is common in a street is common here.
UPPER_COLORS = {
    "black": 20,
    "white": 19,
    "gray": 11,
    "blue": 10,
    "red": 8,
    "navy": 6,
    "green": 5,
    "pink": 5,
    "purple": 4,
    "brown": 4,
    "beige": 4,
    "yellow": 3,
    "orange": 2,
}
OUTER_COLORS = {
    "black": 30,
    "gray": 14,
    "navy": 11,
    "blue": 10,
    "brown": 8,
    "beige": 7,
    "red": 6,
    "green": 6,
    "white": 4,
    "purple": 3,
    "pink": 3,
    "yellow": 2,
    "orange": 2,
}
SUIT_COLORS = {"black": 45, "gray": 25, "navy": 20, "brown": 7, "beige": 3}
LOWER_COLORS = {
    "black": 38,
    "gray": 14,
    "blue": 13,
    "navy": 10,
    "brown": 8,
    "beige": 8,
    "white": 5,
    "green": 2,
    "red": 1,
    "purple": 1,
}
JEANS_COLORS = {"blue": 55, "navy": 22, "black": 14, "gray": 7, "white": 2}
SKIRT_COLORS = {
    "black": 28,
    "white": 12,
    "blue": 10,
    "red": 9,
    "gray": 9,
    "pink": 8,
    "purple": 6,
    "navy": 6,
    "beige": 5,
    "green": 4,
    "yellow": 3,
}
INNER_COLORS = {
    "white": 42,
    "gray": 14,
    "black": 14,
    "blue": 8,
    "red": 7,
    "beige": 4,
    "pink": 4,
    "yellow": 3,
    "green": 3,
    "purple": 1,
}
BAG_COLORS = {
    "black": 36,
    "gray": 9,
    "brown": 11,
    "blue": 10,
    "red": 9,
    "white": 5,
    "navy": 5,
    "beige": 4,
    "green": 4,
    "pink": 3,
    "purple": 2,
    "yellow": 1,
    "orange": 1,
}
LEATHER_COLORS = {"black": 45, "brown": 25, "beige": 10, "red": 9, "white": 6, "gray": 5}
SHOE_COLORS = {
    "sneakers": {
        "white": 32,
        "black": 26,
        "gray": 14,
        "blue": 8,
        "red": 7,
        "navy": 4,
        "pink": 3,
        "green": 2,
        "yellow": 2,
        "orange": 2,
    },
    "leather shoes": {"black": 66, "brown": 24, "beige": 6, "red": 2, "gray": 2},
    "boots": {"black": 50, "brown": 30, "beige": 12, "gray": 8},
    "sandals": {"brown": 35, "black": 30, "beige": 15, "white": 12, "pink": 5, "blue": 3},
}
UPPER_BY_SEASON = {
    "summer": {"t-shirt": 58, "shirt": 12, "polo shirt": 14, "tank top": 8, "hoodie": 3},
    "mild": {
        "t-shirt": 18,
        "shirt": 22,
        "sweater": 16,
        "hoodie": 18,
        "jacket": 22,
        "polo shirt": 4,
    },
    "cold": {"jacket": 46, "coat": 28, "hoodie": 13, "sweater": 9, "shirt": 4},
}
PATTERNS_OF = {
    "t-shirt": {"plain": 50, "logo": 28, "thin stripes": 10, "thick stripes": 10, "plaid": 2},
    "shirt": {"plain": 54, "plaid": 27, "thin stripes": 16, "thick stripes": 3},
    "polo shirt": {"plain": 62, "thin stripes": 14, "thick stripes": 16, "logo": 8},
    "tank top": {"plain": 66, "logo": 18, "thin stripes": 16},
    "sweater": {"plain": 58, "thick stripes": 18, "thin stripes": 12, "logo": 8, "plaid": 4},
    "hoodie": {"plain": 56, "logo": 38, "thick stripes": 6},
    "jacket": {"plain": 90, "plaid": 4, "thick stripes": 6},
    "coat": {"plain": 92, "plaid": 8},
    "suit jacket": {"plain": 94, "thin stripes": 6},
    "dress": {"plain": 62, "thin stripes": 10, "thick stripes": 8, "plaid": 12, "logo": 8},
}
