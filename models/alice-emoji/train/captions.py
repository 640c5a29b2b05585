# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Forty captions for each picture, in the ways people ask for things.

A caption names the subject (or a synonym), mostly inside a phrase, sometimes with keywords of emojibase. The
flat style is always named. The 3D style is named in half of its captions only, so that a prompt which says
nothing about style gets 3D. Everything is drawn from one seeded generator: the same data give the same
captions.
"""

import random
import re

VARIANTS = 40

# `{A}` is the subject with its article, `{L}` the subject alone.
SOLID = (
    "a 3d emoji of {A}; 3d emoji of {A}; 3d emoji, {L}; {L}, 3d; a 3d {L}; {L} 3d emoji; a 3d render of {A}; "
    "3d render, {L}; a 3d icon of {A}; {A}, 3d style"
).split("; ")
PLAIN = (
    "{L}; {A}; {L}; {A}; an emoji of {A}; {L} emoji; a picture of {A}; a photo of {A}; an image of {A}; "
    "a drawing of {A}; a cute {L}; an illustration of {A}; {A} on a white background; {L} icon"
).split("; ")
FLAT = (
    "a flat emoji of {A}; flat emoji of {A}; flat emoji, {L}; {L}, flat; a flat {L}; {L} flat emoji; "
    "a flat illustration of {A}; flat vector, {L}; a flat vector icon of {A}; {A}, flat style; "
    "flat design, {L}; {L}, flat vector"
).split("; ")

WITHOUT_ARTICLE = frozenset(
    "glasses; sunglasses; jeans; grapes; cherries; blueberries; french fries; pancakes; books; scissors; "
    "fireworks; sparkles; eyes; crossed swords; clapping hands; folded hands; sneakers".split("; ")
)
MASS_NOUNS = frozenset("soap bacon bread popcorn sushi fire santa mrs.".split())

# Emojibase label = what people call it. A name said twice is drawn twice as often.
SYNONYMS_TABLE = """
dog face = puppy; puppy dog; dog head; happy dog
cat face = kitten; kitty; cat head
red heart = heart; love heart
sun with face = smiling sun
sun = bright sun; sunshine
automobile = car; red car; car
hot beverage = coffee; cup of coffee; mug of coffee; coffee cup; cup of tea
smiling face with sunglasses = cool face; smiley with sunglasses; face wearing sunglasses; cool smiley
smiling face with heart-eyes = face in love; heart eyes; smiley with heart eyes
face with tears of joy = laughing face; crying laughing face
grinning face = happy face; smiley; smiley face; happy smiley
slightly smiling face = smile; smiling face
crying face = sad face; sad smiley
loudly crying face = sobbing face
enraged face = very angry face; red angry face
pile of poo = poop; poo
hamburger = burger; cheeseburger
french fries = fries; chips
doughnut = donut; glazed donut
soft ice cream = ice cream cone; ice cream
house = home; small house
house with garden = house with a tree
evergreen tree = pine tree; fir tree
deciduous tree = tree; green tree
locomotive = steam train; steam locomotive
helicopter = chopper
rocket = space rocket; rocket ship; spaceship
flying saucer = ufo; flying saucer in space
wrapped gift = gift; present; gift box
front-facing baby chick = chick; baby chick
honeybee = bee
lady beetle = ladybug; ladybird
globe showing Americas = earth; planet earth; globe
pizza = slice of pizza; pizza slice
cheese wedge = cheese; piece of cheese
beer mug = beer; glass of beer
wine glass = glass of red wine; wine
crescent moon = moon
full moon = full moon
fire = flame; flames
gem stone = diamond; blue diamond; gem
robot = robot face; robot head
alien = alien face; extraterrestrial
high voltage = lightning bolt; lightning
shortcake = strawberry cake; slice of cake
delivery truck = truck
fire engine = fire truck; firetruck
mobile phone = smartphone; phone
laptop = computer; laptop computer
hot pepper = chili pepper; red chili
ear of corn = corn
T-Rex = dinosaur; tyrannosaurus rex
sauropod = dinosaur; long neck dinosaur
jack-o-lantern = halloween pumpkin; pumpkin
light bulb = lamp
musical keyboard = piano; piano keys
bouquet = bunch of flowers; flowers
blossom = yellow flower; flower
hibiscus = red flower
cherry blossom = pink flower
snowman without snow = snowman
beach with umbrella = beach; tropical beach
spouting whale = blue whale; whale spouting water
flexed biceps = strong arm; muscle
cocktail glass = martini; cocktail
sailboat = boat; sailing boat
airplane = plane; aeroplane
tiger face = tiger head
horse face = horse head
rabbit face = bunny; bunny face
rabbit = bunny
glowing star = shining star
star = yellow star; gold star
crown = golden crown; gold crown
artist palette = paint palette
key = gold key
birthday cake = cake; cake with candles
Santa Claus = santa; father christmas
Japanese castle = pagoda castle
mage = wizard; magician
cook = chef
man mage = wizard
money bag = bag of money; sack of money
alarm clock = clock; red alarm clock
potted plant = plant in a pot; house plant
books = stack of books
t-shirt = shirt; blue shirt
running shoe = sneaker; shoe
face blowing a kiss = kissing face
thinking face = face thinking
star-struck = starry eyes face; star eyes
sleeping face = sleepy face
exploding head = mind blown
face screaming in fear = scared face; screaming face
thumbs up = like; thumb up
hundred points = 100
collision = explosion; boom
water wave = ocean wave; wave
droplet = drop of water; water drop
tropical fish = yellow fish
fish = blue fish
"""
SYNONYMS = {
    label: names.split("; ")
    for label, names in (line.split(" = ") for line in SYNONYMS_TABLE.strip().splitlines())
}

ANIMALS_AND_NATURE = 3


def captions(pictures: list[dict], seed: int = 7) -> list[list[str]]:
    """`VARIANTS` captions for each picture, given its `label`, `tags`, `group` and `style`."""
    draw = random.Random(seed)
    return [_captions_of(picture, draw) for picture in pictures]


def _captions_of(picture: dict, draw: random.Random) -> list[str]:
    names, keywords = _names(picture), _keywords(picture)
    captions = []
    for _ in range(VARIANTS):
        name, phrases, style = draw.choice(names), FLAT, ""
        style_drawn = draw.random()
        if picture["style"] == "flat":
            style = draw.choice(["flat", "flat emoji", "flat style"])
        elif style_drawn < 0.5:
            phrases, style = SOLID, draw.choice(["3d", "3d emoji", "3d style"])
        else:
            phrases = PLAIN
        form = draw.random()
        if keywords and form < 0.12:
            some = draw.sample(keywords, min(len(keywords), draw.randint(2, 4)))
            captions.append(", ".join([style] * bool(style) + some))
            continue
        caption = draw.choice(phrases).replace("{A}", with_article(name)).replace("{L}", name)
        if keywords and form < 0.4:
            some = draw.sample(keywords, min(len(keywords), draw.randint(1, 3)))
            caption += ", " + ", ".join(some)
        captions.append(caption)
    return captions


def _names(picture: dict) -> list[str]:
    """What the subject may be called; its own label three times, so that synonyms do not drown it."""
    label, synonyms = _plain(picture["label"]), SYNONYMS.get(picture["label"], [])
    names = [label] * 3
    if label.endswith(" face") and picture["group"] == ANIMALS_AND_NATURE:
        names.append(label.removesuffix(" face"))
    return names + [name for name in synonyms for _ in range(2 if len(synonyms) < 3 else 1)]


def _keywords(picture: dict) -> list[str]:
    tags = [_plain(tag) for tag in picture["tags"] if len(tag) < 24]
    tags = [tag for tag in tags if re.match(r"^[a-z0-9 \-’']+$", tag)]
    if len(tags) > 12:
        tags = [tag for tag in tags if " " in tag or len(tag) > 2][:14]
    return tags


def with_article(name: str) -> str:
    """`name` as it stands in a sentence: "an owl", "a unicorn", "grapes"."""
    if name in WITHOUT_ARTICLE or name.startswith(("some ", "the ")) or name.split()[0] in MASS_NOUNS:
        return name
    sounds_like_vowel = name[0] in "aeiou" and not name.startswith(("uni", "one", "eu", "use"))
    return ("an " if sounds_like_vowel else "a ") + name


def _plain(text: str) -> str:
    return text.replace("’", "'").replace("“", '"').replace("”", '"').replace(":", ",").lower().strip()
