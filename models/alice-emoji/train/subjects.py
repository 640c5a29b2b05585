# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Which emoji the model learns, and how often it sees each of them.

The model is small and its training short, so it cannot learn every emoji equally well. Three rings of
subjects say what matters: the core (what people type first), the other common ones, and the rest by category.
`prep.py` asks this file about every entry of emojibase; labels are emojibase's.
"""

import re

CORE = """
grinning face with big eyes; grinning face; face with tears of joy; smiling face with heart-eyes;
smiling face with sunglasses; winking face; crying face; angry face; thinking face; sleeping face;
partying face; skull; ghost; alien; robot; pile of poo; red heart; thumbs up; eyes; cat face; dog face; cat;
dog; fox; lion; tiger face; panda; koala; rabbit face; pig face; cow face; frog; monkey face; bear; unicorn;
horse; elephant; penguin; owl; front-facing baby chick; duck; turtle; spouting whale; tropical fish; octopus;
shark; butterfly; honeybee; lady beetle; snail; crab; dragon face; T-Rex; rose; sunflower; tulip; cactus;
evergreen tree; palm tree; four leaf clover; mushroom; red apple; green apple; banana; grapes; watermelon;
strawberry; lemon; pineapple; cherries; peach; tangerine; avocado; carrot; tomato; ear of corn; broccoli;
bread; cheese wedge; hamburger; french fries; pizza; hot dog; taco; sushi; soft ice cream; doughnut; cookie;
birthday cake; cupcake; lollipop; hot beverage; beer mug; wine glass; house; castle; volcano;
snow-capped mountain; globe showing Americas; automobile; bus; fire engine; police car; taxi; tractor;
bicycle; sailboat; airplane; helicopter; rocket; flying saucer; sun; full moon; crescent moon; star; cloud;
rainbow; umbrella; snowflake; snowman; fire; droplet; high voltage; jack-o-lantern; Christmas tree; balloon;
wrapped gift; trophy; soccer ball; basketball; crystal ball; video game; teddy bear; artist palette; crown;
gem stone; bell; guitar; camera; light bulb; books; money bag; key; bomb; alarm clock; astronaut
"""

COMMON = """
beaming face with smiling eyes; rolling on the floor laughing; slightly smiling face; smiling face with halo;
smiling face with hearts; star-struck; face blowing a kiss; face with tongue; zany face; hugging face;
neutral face; smirking face; face with medical mask; nauseated face; exploding head; cowboy hat face;
nerd face; astonished face; loudly crying face; face screaming in fear; enraged face; smiling face with horns;
clown face; grinning cat; broken heart; blue heart; green heart; yellow heart; purple heart; hundred points;
collision; waving hand; OK hand; victory hand; thumbs down; clapping hands; folded hands; flexed biceps;
brain; eye; firefighter; farmer; cook; scientist; police officer; detective; ninja; mage; fairy; vampire;
mermaid; zombie; genie; Santa Claus; princess; baby; poodle; wolf; tiger; horse face; zebra; cow; pig; sheep;
goat; camel; giraffe; rhinoceros; hippopotamus; mouse face; mouse; hamster; rabbit; hedgehog; bat; sloth;
kangaroo; monkey; gorilla; turkey; chicken; hatching chick; dove; eagle; swan; flamingo; peacock; parrot;
crocodile; lizard; snake; dragon; sauropod; whale; dolphin; seal; fish; blowfish; spiral shell; bug; ant;
spider; lobster; bouquet; cherry blossom; hibiscus; blossom; seedling; potted plant; deciduous tree;
maple leaf; melon; mango; pear; blueberries; kiwi fruit; coconut; eggplant; potato; hot pepper; cucumber;
croissant; pretzel; pancakes; waffle; bacon; sandwich; burrito; cooking; popcorn; ice cream; shortcake; pie;
chocolate bar; candy; honey pot; teapot; cocktail glass; tropical drink; mountain; beach with umbrella;
house with garden; Japanese castle; hospital; school; tent; ferris wheel; locomotive; train; ambulance;
delivery truck; racing car; motorcycle; ship; sun with face; glowing star; cloud with rain; lightning;
water wave; fireworks; sparkles; party popper; 1st place medal; american football; baseball; tennis; bowling;
boxing glove; fishing pole; bullseye; kite; magic wand; glasses; sunglasses; t-shirt; jeans; dress;
running shoe; high-heeled shoe; top hat; graduation cap; ring; musical note; microphone; headphone; saxophone;
musical keyboard; trumpet; violin; drum; mobile phone; telephone; battery; laptop; television;
magnifying glass tilted left; candle; open book; envelope; package; pencil; paintbrush; scissors; locked;
hammer; axe; crossed swords; dagger; shield; gear; magnet; microscope; telescope; syringe; pill; door; bed;
couch and lamp; toilet; shower; soap; shopping cart; moai; warning; check mark button; cross mark;
recycling symbol; pirate flag; chequered flag; rainbow flag
"""


def _labels(table: str) -> frozenset[str]:
    return frozenset(label.strip().lower() for label in table.replace("\n", " ").split(";"))


_CORE = _labels(CORE)
_COMMON = _CORE | _labels(COMMON)

# Emojibase numbers its groups and subgroups (meta/groups.json); the ones that matter here.
PEOPLE, COMPONENTS, TRAVEL, SYMBOLS, FLAGS = 1, 2, 5, 8, 9
ROLES_AND_SPORTS = range(23, 30)
ROLE_FANTASY_ACTIVITY = (25, 26, 27)
FAMILY, TIME, PLAIN_FLAG = 30, 58, 97
KEYCAP_AND_LETTERS = (94, 95)
PLAIN_SIGNS = (83, 85, 88, 89, 90, 92)


def is_common(label: str) -> bool:
    """Whether the label is in one of the two named rings."""
    return label.lower() in _COMMON


def category_weight(emoji: dict, labels: set[str]) -> float:
    """How interesting an emoji's category is, 0 (left out) to 1.

    `emoji` is an entry of emojibase, `labels` all labels of the collection. Left out: country flags,
    components, "man X" and "woman X" where a neutral X exists, Japanese buttons, and all clock faces but one
    drawing a clock.
    """
    group, subgroup, label = emoji.get("group"), emoji.get("subgroup"), emoji["label"]
    if group is None or group == COMPONENTS:
        return 0
    if group == FLAGS:
        return 0.3 if subgroup == PLAIN_FLAG else 0
    if group == PEOPLE:
        return _people_weight(label, subgroup, labels)
    if group == SYMBOLS:
        if subgroup in KEYCAP_AND_LETTERS:
            return 0 if "button" in label and "apanese" in label else 0.2
        return 0.25 if subgroup in PLAIN_SIGNS else 0.4
    if (
        group == TRAVEL
        and subgroup == TIME
        and ("o’clock" in label or "o'clock" in label or "-thirty" in label)
    ):
        return 0
    return 1.0


def _people_weight(label: str, subgroup: int, labels: set[str]) -> float:
    gendered = re.match(r"(man|woman|men|women)(:| )(.*)", label)
    if gendered:
        who, role = gendered.group(1), gendered.group(3).strip()
        if labels & {role, f"person {role}", f"people {role}", f"person: {role}"}:
            return 0
        if subgroup in ROLE_FANTASY_ACTIVITY:
            return 0.3 if who == "woman" else 0
        return 0.4
    if subgroup == FAMILY and label != "family":
        return 0.15
    return 0.5 if subgroup in ROLES_AND_SPORTS else 0.7


def vae_weight(label: str, category: float) -> float:
    """How often the autoencoder sees an image, relative to the others.

    The square root: the autoencoder learns strokes and colours, which the rare subjects share with the common
    ones.
    """
    return (3.0 if is_common(label) else category) ** 0.5


def subject_weight(label: str, style: str, category: float) -> float:
    """How often the denoiser sees an image, relative to the others, before `train.py` flattens the weights.

    With these numbers half of all samples are core subjects in the 3D style, which a prompt without a word
    about style asks for.
    """
    solid = style == "3d"
    if label.lower() in _CORE:
        return 10.4 if solid else 3.0
    if is_common(label):
        return 3.0 if solid else 0.85
    return category * (0.31 if solid else 0.08)
