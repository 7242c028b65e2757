"""Small functions with few tests and a fuller set: what `programs` mutates and judges.

Each row: name, a correct program, arguments of the few tests (`base`), arguments of the rest. The
few are what a first draft of a test suite has: the ordinary case, seldom the edges.
"""

from __future__ import annotations

from typing import Any

SOURCES: tuple[tuple[str, str, tuple[Any, ...], tuple[Any, ...]], ...] = (
    ("clamp", """
def clamp(x, low, high):
    if x < low:
        return low
    if x > high:
        return high
    return x
""", ((5, 0, 10), (-3, 0, 10)),
     ((12, 0, 10), (0, 0, 10), (10, 0, 10), (1, 1, 1), (-5, -3, -1), (9, 0, 10))),
    ("is_leap", """
def is_leap(year):
    if year % 400 == 0:
        return True
    if year % 100 == 0:
        return False
    return year % 4 == 0
""", ((2024,), (2023,)),
     ((2000,), (1900,), (2100,), (1996,), (1600,), (4,), (1999,), (2400,), (99,), (401,), (101,))),
    ("gcd", """
def gcd(a, b):
    while b != 0:
        a, b = b, a % b
    return a
""", ((12, 18), (7, 3)), ((0, 5), (5, 0), (100, 75), (1, 1), (48, 36), (17, 17), (270, 192))),
    ("digit_sum", """
def digit_sum(n):
    total = 0
    while n > 0:
        total += n % 10
        n = n // 10
    return total
""", ((123,), (5,)), ((0,), (10,), (999,), (1001,), (90,), (100000,), (11,))),
    ("is_prime", """
def is_prime(n):
    if n < 2:
        return False
    d = 2
    while d * d <= n:
        if n % d == 0:
            return False
        d += 1
    return True
""", ((7,), (8,)),
     ((0,), (1,), (2,), (3,), (4,), (9,), (25,), (49,), (97,), (91,), (121,), (15,), (6,))),
    ("count_vowels", """
def count_vowels(text):
    count = 0
    for letter in text:
        if letter in "aeiou" or letter in "AEIOU":
            count += 1
    return count
""", (("hello",),), (("",), ("xyz",), ("AEIOU",), ("aA",), ("Queue",), ("rhythm",), ("bEd",))),
    ("bisect_left", """
def bisect_left(values, x):
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low
""", (([1, 3, 5], 3), ([1, 3, 5], 4)),
     (([], 1), ([1], 0), ([1], 1), ([1], 2), ([2, 2, 2], 2), ([1, 3, 5], 9), ([1, 3, 5], 0),
      ([1, 2, 2, 3], 2), (list(range(20)), 13), ([1, 3], 3))),
    ("fibonacci", """
def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
""", ((1,), (2,)), ((0,), (3,), (5,), (10,), (20,))),
    ("second_largest", """
def second_largest(values):
    best, second = None, None
    for v in values:
        if best is None or v > best:
            best, second = v, best
        elif v != best and (second is None or v > second):
            second = v
    return second
""", (([1, 2, 3],), ([5, 1, 4],)),
     (([1],), ([2, 2],), ([],), ([3, 3, 1],), ([1, 3, 3],), ([-1, -2],), ([9, 1, 8, 8],),
      ([4, 2, 3],))),
    ("run_lengths", """
def run_lengths(text):
    out = []
    for letter in text:
        if len(out) > 0 and out[-1][0] == letter:
            out[-1][1] += 1
        else:
            out.append([letter, 1])
    return out
""", (("aab",),), (("",), ("a",), ("abc",), ("aaaa",), ("abba",), ("aabbb",))),
    ("collatz", """
def collatz(n):
    steps = 0
    while n > 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return steps
""", ((4,), (8,)), ((1,), (2,), (3,), (6,), (7,), (27,), (16,), (5,))),
    ("days_in_month", """
def days_in_month(month, leap):
    if month == 2:
        return 29 if leap else 28
    if month == 4 or month == 6 or month == 9 or month == 11:
        return 30
    return 31
""", ((1, False), (4, False), (2, False)),
     ((2, True), (6, False), (9, True), (11, False), (12, False), (7, False), (3, True), (5, False),
      (8, False), (10, True))),
    ("triangle", """
def triangle(a, b, c):
    if a + b <= c or b + c <= a or a + c <= b:
        return "none"
    if a == b and b == c:
        return "equilateral"
    if a == b or b == c or a == c:
        return "isosceles"
    return "scalene"
""", ((3, 4, 5), (2, 2, 2)),
     ((2, 2, 3), (3, 2, 2), (2, 3, 2), (1, 2, 3), (3, 1, 2), (1, 3, 2), (1, 1, 5), (5, 1, 1),
      (1, 5, 1), (4, 5, 6), (6, 6, 1))),
    ("binary", """
def binary(n):
    if n == 0:
        return "0"
    out = ""
    while n > 0:
        out = str(n % 2) + out
        n = n // 2
    return out
""", ((5,), (2,)), ((0,), (1,), (7,), (8,), (255,), (6,), (1024,))),
    ("trailing_zeros", """
def trailing_zeros(n):
    count = 0
    power = 5
    while power <= n:
        count += n // power
        power = power * 5
    return count
""", ((5,), (12,)), ((0,), (4,), (10,), (24,), (25,), (26,), (125,), (624,), (30,))),
    ("merge", """
def merge(a, b):
    out = []
    i, j = 0, 0
    while i < len(a) and j < len(b):
        if a[i] <= b[j]:
            out.append(a[i])
            i += 1
        else:
            out.append(b[j])
            j += 1
    return out + a[i:] + b[j:]
""", (([1, 3], [2, 4]), ([], [1])),
     (([1], []), ([1, 1], [1]), ([5, 6], [1, 2]), ([1, 2], [5, 6]), ([2], [2, 2]), ([0, 9], [3]),
      ([], []))),
)  # fmt: skip
