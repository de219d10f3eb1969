"""Short texts of many kinds, on which tokenizers are compared when no better text is at hand.

Those of `LANGUAGES` all say the same, so their numbers of tokens tell what a language costs. All were written for this
file.
"""

_ENGLISH = """\
The tide was low when the children found the old boat. Its paint had faded, and nobody in the village remembered its
name. They sat inside until evening, counted the gulls, and decided that tomorrow they would repair it.
"""

_PYTHON = '''\
from collections import Counter


def most_common_pair(words: dict[tuple[int, ...], int]) -> tuple[int, int] | None:
    """The pair of neighbours that occurs most often, or None if no word has two parts."""
    counts = Counter()
    for word, times in words.items():
        for left, right in zip(word, word[1:]):
            counts[left, right] += times
    if not counts:
        return None
    return max(counts, key=lambda pair: (counts[pair], pair))
'''

_C = """\
#include <stdint.h>
#include <stddef.h>

/* FNV-1a: one multiplication a byte. */
uint64_t hash_bytes(const uint8_t *data, size_t length)
{
\tuint64_t hash = 0xcbf29ce484222325ULL;

\tfor (size_t i = 0; i < length; i++) {
\t\thash ^= data[i];
\t\thash *= 0x100000001b3ULL;
\t}
\treturn hash;
}
"""

_JSON = """\
{"id": 1047, "name": "harbour gauge", "unit": "cm", "active": true, "tags": ["tide", "north-pier"], "readings": [
  {"time": "2024-03-09T06:00:00Z", "value": 312.4, "quality": null},
  {"time": "2024-03-09T07:00:00Z", "value": 287.9, "quality": "estimated"}
]}
"""

_MARKDOWN = """\
# Tide gauge

Reads the water level **every hour** and keeps a year of it.

1. Install the sensor, then run `gauge --port /dev/ttyUSB0`.
2. Open <http://localhost:8080/> and look at the curve.

| pin | meaning | volts |
| --- | ------- | ----: |
| 1   | power   |   5.0 |
| 2   | signal  |   3.3 |
"""

_NUMBERS = """\
3.14159265358979 2.71828182845905 1.41421356237310
1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181, 6765
1024 x 768 = 786,432; -40 C = -40 F; 6.02214076e23; 0x1F4A; 1984-01-24 09:41; $1,299.99; 65,535 / 255 = 257
"""

_MIXED = """\
Café ☕ opens at 8:30 → bring your 🚲! ½ price for naïve résumé-writers… “Really?” 👩‍👩‍👧‍👦 ≥ 3 people: √2 · π ≈ 4.44 ✓
"""

_GERMAN = """\
Es war Ebbe, als die Kinder das alte Boot fanden. Seine Farbe war verblasst, und niemand im Dorf erinnerte sich an
seinen Namen. Sie saßen bis zum Abend darin, zählten die Möwen und beschlossen, es morgen zu reparieren.
"""

_SPANISH = """\
La marea estaba baja cuando los niños encontraron la vieja barca. La pintura se había desvaído y nadie en el pueblo
recordaba su nombre. Se quedaron sentados dentro hasta la noche, contaron las gaviotas y decidieron repararla mañana.
"""

_TURKISH = """\
Çocuklar eski tekneyi bulduğunda deniz çekilmişti. Boyası solmuştu ve köyde kimse adını hatırlamıyordu. Akşama kadar
içinde oturdular, martıları saydılar ve onu yarın onarmaya karar verdiler.
"""

_RUSSIAN = """\
Был отлив, когда дети нашли старую лодку. Краска на ней выцвела, и никто в деревне не помнил её названия. Они сидели в
ней до вечера, считали чаек и решили, что завтра её починят.
"""

_ARABIC = """\
كان البحر في حالة جزر عندما وجد الأطفال القارب القديم. كان طلاؤه قد بهت، ولم يعد أحد في القرية يتذكر اسمه. جلسوا داخله
حتى المساء، وعدّوا طيور النورس، وقرروا أن يصلحوه غدًا.
"""

_HINDI = """\
जब बच्चों को पुरानी नाव मिली, तब भाटा था। उसका रंग फीका पड़ चुका था, और गाँव में किसी को उसका नाम याद नहीं था। वे शाम तक
उसमें बैठे रहे, समुद्री पक्षियों को गिनते रहे, और तय किया कि कल वे उसकी मरम्मत करेंगे।
"""

_CHINESE = """\
孩子们发现那条旧船的时候，潮水正低。船上的油漆已经褪色，村里没有人记得它的名字。他们在船里一直坐到傍晚，数着海鸥，决定明天把它修好。
"""

_JAPANESE = """\
子どもたちが古い舟を見つけたとき、潮は引いていた。塗装は色あせ、村の誰もその名前を覚えていなかった。彼らは夕方まで舟の中に座り、カモメを数え、明日それを直そうと決めた。
"""

_KOREAN = """\
아이들이 낡은 배를 발견했을 때는 썰물이었다. 페인트는 빛이 바랬고, 마을에서 그 이름을 기억하는 사람은
아무도 없었다. 그들은 저녁까지 배 안에 앉아 갈매기를 세었고, 내일 배를 고치기로 했다.
"""

_THAI = """\
น้ำกำลังลดเมื่อเด็ก ๆ พบเรือเก่าลำนั้น สีของมันซีดจาง และไม่มีใครในหมู่บ้านจำชื่อของมันได้
พวกเขานั่งอยู่ในเรือจนถึงเย็น นับนกนางนวล และตัดสินใจว่าพรุ่งนี้จะซ่อมมัน
"""

KINDS: dict[str, str] = {
    "Python": _PYTHON,
    "C": _C,
    "JSON": _JSON,
    "Markdown": _MARKDOWN,
    "numbers": _NUMBERS,
    "symbols": _MIXED,
}
"""Kind of text -> a text."""

LANGUAGES: dict[str, str] = {
    "English": _ENGLISH,
    "German": _GERMAN,
    "Spanish": _SPANISH,
    "Turkish": _TURKISH,
    "Russian": _RUSSIAN,
    "Arabic": _ARABIC,
    "Hindi": _HINDI,
    "Chinese": _CHINESE,
    "Japanese": _JAPANESE,
    "Korean": _KOREAN,
    "Thai": _THAI,
}
"""Language -> the same few sentences in it."""
