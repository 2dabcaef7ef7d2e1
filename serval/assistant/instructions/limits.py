"""What cannot be watched for with these parts, how an instruction gives it away, and the plain reason for each."""

from __future__ import annotations

import re

REASONS = {
    "identity": "I cannot recognise who a person is, only that somebody is there",
    "emotion": "I cannot tell what somebody feels",
    "sound": "I have no ears: I see pictures only",
    "smell": "I have no nose: I see pictures only",
    "touch": "I cannot feel heat, cold, weight or touch: I see pictures only",
    "colour": "I cannot tell colours or looks reliably, so I would tell you of others too",
    "clothes": "I cannot tell what somebody wears or carries",
    "future": "I only know what has happened, not what will happen",
    "intention": "I cannot tell what somebody wants or thinks",
    "unseen": "I cannot see behind, under or inside things, nor outside the picture",
    "weather": "I have no part that tells weather or light",
    "danger": "I was never tested on fire, smoke, falls or crimes, and nobody should rely on me for them",
    "speech": "I cannot follow what people say or do on a screen or a telephone",
    "judgement": "I cannot judge what is unusual, important, good or bad; I can tell you of everything that changes",
    "duration": "I tell what changes, and I do not measure how long something lasts",
    "schedule": "I do not read times of day out of a sentence; give them with --schedule or --expires",
    "frequency": "I do not count how often something happens in a time, only how many are in view at once",
    "negation": "I speak when something happens, and cannot wait for something not to happen",
    "several": "this is more than one request; add each as an instruction of its own",
    "question": "this is a question; ask it with `serval ask` about a run",
    "place": "I cannot find that place in the picture",
    "relation": "I see single things and not how they stand to each other, except what rests on something",
    "direction": "I know from which side something comes in and by which it leaves, and no other way or part of the picture",
    "action": "that is no movement that I can see: I notice what comes, leaves, moves, is put down or is taken",
    "hands": "I notice what people's hands put down or take, and nobody else's",
    "leaving count": "I can count what is in view, not how many leave, move or are moved together",
    "everyone": "I cannot know when everybody is there, only how many are in view",
    "vocabulary": "it is none of the 80 things I can track",
    "tags": "it is none of the 80 things I can track, and like none of my 1000 tags for whole pictures",
    "reference": "I do not know what that word points at",
    "command": "I can watch and tell; I cannot do anything else",
    "words": "I do not understand it",
}

# Searched in the whole sentence, without quotations, before the grammar: the first that is found is the reason.
_CUES = {
    "negation": r"^(?:there is )?nothing\b",
    "question": r"^(?:how (?:many|much|often|long)|who|whose|where|why|which|(?:is|are|was|were|did|does) (?:there|the|an?|"
    r"any)) ",
    "schedule": r"\b(?:at night|tonight|tomorrow|today|yesterday|weekdays?|weekends?|mondays?|tuesdays?|wednesdays?|"
    r"thursdays?|fridays?|saturdays?|sundays?|midnight|noon|o'clock|\d+ ?[ap]m|(?:in|during) the (?:morning|"
    r"afternoon|evening|night)|(?:after|before|until|till|from) (?:\d+|dark|sunset|sunrise|dawn|dusk|school|"
    r"work))\b",
    "duration": r"\b(?:(?:for|after|within|in|longer than|more than|less than|at least|over|last) (?:\w+ ){0,2}(?:seconds?|"
    r"minutes?|hours?|days?|weeks?)|too long|a long time|a while|all day|stays?|staying|remains?|keeps|"
    r"lasts?(?! (?:person|car|dog|cat|one))|loiter\w*|lingers?|waits?|waiting)\b",
    "frequency": r"\b(?:twice|thrice|\w+ times|in a row|often|every \w+ (?:seconds|minutes|hours|days)|(?:per|every|"
    r"each) (?:second|minute|hour|day|week)|an hour|a (?:minute|day|week))\b",
    "future": r"\b(?:about to|going to|before (?:a|an|the|any\w*|some\w*|it|he|she|they|you)|soon|will|predict|might|"
    r"likely to|shall)\b",
    "intention": r"\b(?:wants? to|wanting|tr(?:y|ies|ied|ying) to|plans? to|intends?|intending|decides?|thinks?|thinking|lies|"
    r"lying to|pretends?|means to|hopes?|bored|attention|interested|confused|drunk|asleep|awake|tired|sleepy|ill|"
    r"sick|hungry|alive|dead)\b",
    "weather": r"\b(?:rain\w*|snow(?:s|ing|y)?|hail\w*|storm\w*|wind\w*|sunny|sunshine|sunset|sunrise|fog\w*|weather|"
    r"cloud\w*|lightning|thunder|daylight|(?:gets?|getting|turns?|becomes?|is) (?:dark|light|bright)\w*|"
    r"lights? (?:goes?|turns?|is|are)? ?(?:on|off|out))\b",
    "danger": r"\b(?:fires?|flames?|smoke|smoking|burn\w*|explo\w+|gas leak|flood\w*|leak\w*|accident|crash\w*|"
    r"collapse[sd]?|faint\w*|collide[sd]?|collisions?|fights?|fighting|attack\w*|robbery|theft|crime|violence|"
    r"emergency|drown\w*|chok\w+|injur\w+|hurt|blood|bleed\w*|unconscious|danger\w*|weapons?|guns?|(?:someone|"
    r"somebody|person|people|man|woman|child|kid|boy|girl|baby|toddler|anyone|cyclist|motorcyclist|rider|worker|"
    r"he|she) (?:has |have )?(?:falls?|fell|fallen|falling|trips?|slips?))\b",
    "sound": r"\b(?:hears?|heard|hearing|listen\w*|noises?|sounds?|loud\w*|quiet\w*|music|voices?|bark\w*|meow\w*|miaow\w*|"
    r"cr(?:y|ies|ied|ying)|scream\w*|shout(?:s|ing|ed)|yell\w*|sing(?:s|ing)?|whistl\w+|knock(?:s|ing|"
    r"ed)?(?! (?:over|down|off))|rings?|ringing|beep\w*|honk\w*|siren|alarms?|talk\w*|speaks?|speaking|whisper\w*|"
    r"claps?|applau\w+|snor\w+|coughs?|coughing|sneez\w+|growls?|purrs?|doorbell|says (?:hello|hi))\b",
    "smell": r"\b(?:smell\w*|odou?rs?|stink\w*|stench|scent\w*)\b",
    "touch": r"\b(?:hot|cold|warm|temperature|heavy|weighs?|feels|wet)(?! dogs?)\b",
    "emotion": r"\b(?:sad\w*|happ(?:y|ily|iness)|angry|anger|upset|afraid|scared|frightened|nervous|anxious|smil\w+|laugh\w*|"
    r"frown\w*|mood|feelings?|emotions?|excited|surprised|friendly|stressed|worried|lonely|pleased|furious|"
    r"depressed)\b",
    "judgement": r"\b(?:unusual|strange|weird|odd|interesting|suspicious\w*|important|exciting|funny|wrong|bad|good|beautiful|"
    r"abnormal|anomal\w+|unexpected|out of the ordinary|special|relevant|noteworthy|safe|unsafe|broken|clean|"
    r"dirty|full|fresh)\b",
    "clothes": r"\b(?:wear\w*|wore|dressed|in (?:a|an) (?:\w+ )?(?:suit|hat|coat|jacket|uniform|dress|mask|helmet|hoodie|"
    r"vest)|with (?:a|an|their|his|her) (?:\w+ )?(?:hat|beard|glasses|mask|helmet|uniform|hood)|naked|barefoot|"
    r"carr(?:y|ies|ying)|holds?|holding|armed|helmets?|uniforms?)\b",
    "colour": r"\b(?:(?:dark |light )?(?:red|blue|green|yellow|white|black|grey|gray|brown|purple|pink|golden|silver|"
    r"colou?rful|orange(?= (?!is|are|was|gets|has|appears|falls|rolls|moves|comes|on|in|or|and)\w+))(?! (?:bear|"
    r"retriever|light changes)s?)(?= [a-z])|colou?rs?|striped|spotted|blond\w*|bald|turns? (?:red|green|amber|"
    r"yellow)|is (?:red|green|amber|yellow))\b",
    "speech": r"\b(?:phone calls?|on the phone|calls me|texts me|emails?|messages? (?:me|arrives)|tweets?)\b",
    "identity": r"\b(?:strangers?|intruders?|burglars?|thief|thieves|robbers?|trespassers?|criminals?|suspects?|unknown|"
    r"familiar|unfamiliar|someone else|somebody else|anyone else|owners?|boss|neighbou?rs?|friends?|wife|husband|"
    r"mum|mom|mother|dad|father|son|daughter|brother|sister|grandma|granny|grandad|nanny|grandpa|grandmother|"
    r"grandfather|aunt|uncle|cousin|girlfriend|boyfriend|partner|landlord|roommate|flatmate|president|celebrity|"
    r"recogni[sz]e(?! the (?:word|text))|identif\w+|whom|i (?:come|leave|enter|arrive|get|am)|me)\b",
    "unseen": r"(?<!left )(?<!leaves )(?<!leave )(?<!leaving )\b(?:behind|beneath|underneath|under|inside|through the wall|"
    r"next door|upstairs|downstairs|in another room|out of (?:sight|frame)|off screen|in (?:the |a |my |his |"
    r"her )?(?:pocket|drawer|cupboard|bag|box|fridge|oven|backpack|handbag|suitcase)s?)\b",
    "relation": r"\b(?:next to|beside|near(?:by)? (?:a|an|the|my)|close to|in front of|between|together|alone|facing|touch\w*|"
    r"towards?|against|over the|across from|without|each other|same)\b",
    "direction": r"\b(?:from left to right|from right to left|left to right|right to left|upwards?|downwards?|clockwise|"
    r"backwards?|forwards?|in the (?:middle|cent(?:re|er|ral)|corner|background|foreground|distance)|wrong way|"
    r"straight|turns? (?:left|right|around))\b",
}  # fmt: skip
_CUES_COMPILED = {topic: re.compile(pattern) for topic, pattern in _CUES.items()}


def out_of_reach(clause: str) -> tuple[str, str]:
    """(topic, the words that gave it away) of the first thing in a clause that the parts cannot tell, else two empty strings.

    Args:
        clause: lower case, one space between words, quotations taken out.
    """
    for topic, pattern in _CUES_COMPILED.items():
        if found := pattern.search(clause):
            return topic, found[0].strip()
    return "", ""
