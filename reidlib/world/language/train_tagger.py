"""Train the part-of-speech tagger that is shipped with the package.

    python -m reidlib.world.language.train_tagger

writes `reidlib/data/tagger_json/`. The training sentences are captions of four worlds, in both
styles, whose tags the grammar knows. So that the tagger also copes with what real annotators write,
some words are exchanged for others of the same part of speech that the grammar never uses, and half
of the sentences come without punctuation. Twice the same command writes twice the same bytes.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

from nltk.tag.perceptron import PerceptronTagger

import reidlib.data
from reidlib.data.language.words import tokenize
from reidlib.world.dice import Dice
from reidlib.world.drawing.shot import FAMILIES, Shot, make_shot
from reidlib.world.language.captions import Caption, cuhk_caption, icfg_caption
from reidlib.world.people.identity import Identity, make_identity

WORLD_SEEDS = (900_001, 900_002, 900_003, 900_004)

Tagged = list[tuple[str, str]]

# Words of pedestrian descriptions that the caption grammar does not use.
_OTHER_WORDS = {
    "NN": "gentleman individual luggage text strap handle direction step cardigan vest "
    "windbreaker parka raincoat poncho cape uniform apron robe kimono sari turtleneck "
    "camisole tunic sweatsuit tracksuit overall jumpsuit outfit clothing attire garment "
    "fabric cotton silk fur wool lace cloth collar zipper button hood hem cuff lining belt "
    "buckle tie bow necktie bowtie ribbon necklace bracelet watch ring earring wristband "
    "jewelry lanyard badge mask helmet visor bandana headband headscarf turban wig "
    "hairstyle bang braid mustache beard goatee complexion skin forehead nose mouth cheek "
    "chin lip eye ear elbow wrist finger hip thigh knee calf heel toe leg foot torso "
    "stomach belly midsection figure frame posture stroller cart trolley basket box package "
    "parcel sack duffel duffle briefcase wallet pouch clutch laptop tablet camera bottle "
    "cup coffee drink water food book newspaper magazine paper envelope poster card map "
    "flower bouquet guitar racket ball skateboard scooter bicycle bike motorcycle car bus "
    "truck van taxi door window fence pole pillar tree grass lawn park garden bench stair "
    "escalator elevator corridor hallway lobby station platform mall shop market restaurant "
    "office school campus university background corner curb lane walkway parking lot lamp "
    "sign light shadow rain snow sunlight afternoon evening student worker tourist shopper "
    "businessman businesswoman passerby adult kid child baby toddler couple friend crowd "
    "group color shade tone style brand material edge top bottom middle center half part "
    "portion area line stripe check dot square circle heart star flag number word symbol "
    "image photo cartoon character animal leaf camouflage denim ankle shin sole suede "
    "canvas rubber velvet fleece spandex khaki",
    "NNS": "letters legs pockets people straps earphones cardigans vests shirts jackets coats "
    "sweaters dresses skirts hats caps bags backpacks gloves mittens socks knee-highs heels "
    "pumps slippers clogs crocs cleats wedges stilettos loafers overalls sweatpants joggers "
    "khakis culottes bottoms bermudas undergarments pajamas scrubs earbuds earrings bangs "
    "braids pigtails dreadlocks cornrows curls locks goggles spectacles buttons zippers "
    "laces soles cuffs collars belts bands dots squares circles flowers stars words numbers "
    "trees cars bikes books papers groceries packages boxes bottles knees elbows fingers "
    "thighs calves ankles hips wrists men women students colors shades patterns accents "
    "details accessories items things women's tones stairs steps",
    "JJ": "patterned solid multicolored narrow horizontal vertical contrasting small large closed "
    "casual formal loose folded fitted turquoise teal aqua cyan magenta fuchsia burgundy "
    "crimson scarlet coral peach salmon gold golden silver bronze copper mustard lime mint "
    "indigo charcoal ivory brunette brownish blackish whitish bluish greenish yellowish "
    "grayish pinkish purplish bright faded washed-out distressed ripped torn worn-out dirty "
    "clean shiny glossy matte floral flowered flowery polka-dotted dotted camouflage "
    "geometric tribal abstract animal quilted puffy padded fuzzy fluffy furry woolen silky "
    "lacy sheer transparent see-through baggy tight-fitting loose-fitting oversized "
    "undersized huge tiny wide-legged straight-legged high-waisted low-rise strapless "
    "backless v-neck crew-neck round-neck high-top low-top high-heeled flat chunky "
    "rectangular oval square pointy curly wavy frizzy messy spiky thick thinning receding "
    "balding shoulder-length chin-length waist-length mid-length half-sleeved three-quarter "
    "cuffed rolled-up buttoned unbuttoned zipped unzipped layered asymmetrical asian "
    "caucasian african chubby overweight obese fat fit muscular skinny petite lean lanky "
    "heavy handsome pretty attractive beautiful stylish fashionable trendy sporty elegant "
    "traditional modern simple fancy nice expensive empty blurry visible possible "
    "upper-body female male human different several many various additional whole entire "
    "main front rear",
    "VBG": "heading turning swinging using moving crossing showing taking reading running jogging "
    "riding sitting leaning bending stepping pushing dragging rolling gripping clutching "
    "grasping grabbing lifting raising lowering reaching pointing waving texting calling "
    "listening drinking eating smoking smiling laughing frowning glancing gazing staring "
    "peering browsing shopping traveling entering leaving exiting approaching passing "
    "covering matching featuring displaying sporting donning bearing hanging dangling "
    "draping resting posing stretching slouching hunching climbing descending",
    "VBZ": "runs jogs rides sits leans bends pushes drags grips clutches lifts raises points waves "
    "texts listens drinks eats smokes smiles glances gazes stares enters leaves approaches "
    "passes covers matches features displays sports dons bears hangs reaches goes comes "
    "gets moves keeps shows includes consists extends falls",
    "VBN": "wrapped cut crossed tucked clothed attired outfitted adorned decorated trimmed lined "
    "accented clad fastened strapped draped hung placed positioned located styled parted "
    "combed braided curled dyed cropped shaped colored covered accompanied surrounded "
    "attached clasped clenched bent",
    "RB": "slowly slightly mostly probably possibly likely maybe perhaps clearly partially fully "
    "completely almost nearly somewhat rather quite too really just only well back sideways "
    "briskly calmly quietly leisurely directly diagonally backward backwards downward "
    "upward upwards here around",
    "IN": "onto upon inside beside between above within among during after before since because "
    "throughout alongside beyond except",
    "CD": "three four five six",
    "DT": "some each every any these those",
}
_EXCHANGED = 0.05
# Words of the closed classes have one usual tag, whatever stands around them.
_CLOSED_CLASSES = {
    "WDT": "that which whichever",
    "WP": "who whom what",
    "WP$": "whose",
    "WRB": "when where why how",
    "PRP": "i you we they them it he she him",
    "PRP$": "my your our their its his",
    "MD": "can could may might must shall should will would",
    "VBD": "was were had wore did carried held walked",
    "VBP": "am are have do",
    "VBZ": "is has does",
    "RB": "n't not very",
    "IN": "of with because if whether",
    "DT": "a an the this these those",
    "CC": "and or but nor",
}


def imagined_visibility(dice: Dice, identity: Identity, shot: Shot) -> dict[str, float]:
    """What might be seen of a person: random fractions, nothing of the front from behind."""
    things = ["hair", "headwear", "headphones", "scarf", "upper", "lower", "footwear"]
    things += [f"carried:{thing.kind}" for thing in shot.carried]
    visible = {thing: 1.0 if dice.chance(0.85) else dice.random() for thing in things}
    for thing in ("face", "glasses", "inner", "upper_pattern"):
        visible[thing] = 0.0 if shot.view == "back" else 1.0 if dice.chance(0.85) else dice.random()
    if identity.upper.pattern != "logo":
        visible["upper_pattern"] = 1.0
    return visible


def captions(world_seed: int, people: int) -> Iterator[Caption]:
    """Captions in both styles of the first `people` persons of a world."""
    for pid in range(people):
        identity = make_identity(world_seed, pid)
        shot = make_shot(world_seed, pid, 0, FAMILIES[pid % len(FAMILIES)])
        visible = imagined_visibility(Dice("visible", world_seed, pid), identity, shot)
        yield cuhk_caption(identity, shot, visible, 0)
        yield cuhk_caption(identity, shot, visible, 1)
        yield icfg_caption(identity, shot, visible)


def tagged_tokens(caption: Caption, punctuation: bool = True) -> Tagged:
    """(token, tag) pairs of a caption, with its commas and stops (tags "," and ".") or without."""
    tags = iter(caption.tags)
    tokens = tokenize(caption.text, punctuation=punctuation)
    return [(token, token if token in (",", ".") else next(tags)) for token in tokens]


def exchanged(dice: Dice, sentence: Tagged, others: dict[str, list[str]]) -> Tagged:
    """The sentence with a few words exchanged for others of the same part of speech."""
    return [
        (dice.pick(others[tag]) if tag in others and dice.chance(_EXCHANGED) else word, tag)
        for word, tag in sentence
    ]


def train(people: int, iterations: int = 5) -> tuple[dict, dict, list]:
    """(weights, tagdict, classes) as NLTK stores them, from `people` persons of every world."""
    others = {tag: sorted(set(words.split())) for tag, words in _OTHER_WORDS.items()}
    dice = Dice("tagger")
    sentences = [
        exchanged(dice, tagged_tokens(caption, dice.chance(0.5)), others)
        for seed in WORLD_SEEDS
        for caption in captions(seed, people)
    ]
    tagger = PerceptronTagger(load=False)
    state = random.getstate()
    random.seed(0)  # NLTK shuffles with the global generator
    tagger.train(sentences, nr_iter=iterations)
    random.setstate(state)
    for tag, words in _CLOSED_CLASSES.items():
        tagger.tagdict.update(dict.fromkeys(words.split(), tag))
    weights = {}
    for feature, by_tag in sorted(tagger.model.weights.items()):
        kept = {tag: round(w, 2) for tag, w in sorted(by_tag.items()) if abs(w) >= 0.05}
        if kept:
            weights[feature] = kept
    classes = tagger.classes | set(_CLOSED_CLASSES)
    return weights, dict(sorted(tagger.tagdict.items())), sorted(classes)


def main() -> None:
    """Train and write the three JSON files."""
    default = Path(reidlib.data.language.__path__[0]) / "tagger_json"
    parser = argparse.ArgumentParser(description="Train the shipped part-of-speech tagger.")
    parser.add_argument("--out", type=Path, default=default, help=f"folder (default {default})")
    parser.add_argument("--people", type=int, default=600, help="persons per world (default 600)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, content in zip(
        ("weights", "tagdict", "classes"), train(arguments.people), strict=True
    ):
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
        (arguments.out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"{arguments.out / name}.json: {len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
