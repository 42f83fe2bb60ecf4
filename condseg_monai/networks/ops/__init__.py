"""Operations with an algorithm of their own, each with the plain composition it equals."""
