import unittest

from pages import page_count


class PageCount(unittest.TestCase):
    def test_last_page_not_full(self):
        self.assertEqual(page_count(11, 5), 3)

    def test_last_page_full(self):
        self.assertEqual(page_count(10, 5), 2)

    def test_nothing(self):
        self.assertEqual(page_count(0, 5), 0)


if __name__ == "__main__":
    unittest.main()
