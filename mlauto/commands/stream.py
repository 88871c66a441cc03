"""The stream that ships with mlauto: hourly demand with a drift whose time is known, and a way to spoil it.

Every row is a function of the seed and its own number, so any slice equals the same slice of the whole, and any process
can make the rows that another one sent.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]

__all__ = ["DemandStream", "corrupt"]

DAY = 24
START = "2025-01-01"
WEATHER = ("clear", "clouds", "rain", "storm")
WEATHER_EFFECT = (12.0, 0.0, -18.0, -35.0)
MISSING = {"temperature": 0.02, "humidity": 0.03, "weather": 0.01}


@dataclass(frozen=True)
class DemandStream:
    """Hourly demand from 2025-01-01, one row an hour, target `demand`; from row `drift_at` on in another world.

    There the price moves to a level that was never seen before, demand reacts to it the other way, and the hours of
    peak demand are other ones: a model from before is far off, one that has seen some hundred new rows is not.
    """

    seed: int = 0
    drift_at: int | None = None

    def frame(self, start_row: int, rows: int) -> "pd.DataFrame":
        """Rows `start_row` to `start_row + rows - 1` (the first row of the stream is 0).

        Columns: timestamp, hour, weekday, temperature (°C), humidity (%), weather (clear, clouds, rain or storm),
        holiday, price, demand. Some temperatures, humidities and weathers are missing. Raises `ValueError` below row 0.
        """
        import numpy as np
        import pandas as pd

        if start_row < 0 or rows < 0:
            raise ValueError(f"rows {start_row} to {start_row + rows - 1} are not in the stream: it begins at row 0")
        first_day = start_row // DAY
        days = [self._noise(day) for day in range(first_day, (start_row + rows - 1) // DAY + 1 if rows else first_day)]
        skip = start_row - first_day * DAY
        noise = np.concatenate(days)[skip : skip + rows] if days else np.empty((0, 10))
        row = np.arange(start_row, start_row + rows)
        timestamp = pd.Timestamp(START) + pd.to_timedelta(row, unit="h")
        hour, day_of_year = row % DAY, row / DAY
        temperature = 12 - 9 * np.cos(2 * np.pi * day_of_year / 365) + 4 * np.sin(2 * np.pi * (hour - 9) / DAY)
        temperature += 3 * noise[:, 0]
        drifted = row >= self.drift_at if self.drift_at is not None else np.zeros(rows, dtype=bool)
        price = 20 + 2 * np.sin(2 * np.pi * (hour - 15) / DAY) + 1.5 * noise[:, 1] + np.where(drifted, 16.0, 0.0)
        weather = np.clip(np.floor(1.3 + 0.9 * noise[:, 2] + 0.3 * noise[:, 3]), 0, 3).astype(int)
        holiday = noise[:, 4] > 1.7
        weekday = np.asarray(timestamp.day_of_week)
        humidity = np.clip(62 - 1.1 * (temperature - 12) + 7 * weather + 8 * noise[:, 5], 15, 100)
        demand = 260 + 2.5 * (temperature - 12) + np.array(WEATHER_EFFECT)[weather] + 10 * noise[:, 6]
        demand -= 35 * ((weekday >= 5) | holiday)
        demand += np.where(drifted, _new_world(hour, price), _old_world(hour, price))
        frame = pd.DataFrame(
            {
                "timestamp": timestamp,
                "hour": hour,
                "weekday": weekday.astype("int64"),
                "temperature": temperature.round(1),
                "humidity": humidity.round(0),
                "weather": pd.Series(np.array(WEATHER)[weather], dtype="str"),
                "holiday": holiday,
                "price": price.round(2),
                "demand": np.maximum(demand, 0).round(1),
            }
        )
        for position, (column, share) in enumerate(MISSING.items()):
            frame[column] = frame[column].mask(_uniform(noise[:, 7 + position]) < share)
        return frame

    def _noise(self, day: int) -> "Floats":
        """24 x 10 standard normal numbers of one day; in columns 0, 2 and 4 the whole day shares (most of) its luck."""
        import numpy as np

        noise = np.random.default_rng([self.seed, day]).standard_normal((DAY, 10))
        noise[:, [2, 4]] = noise[0, [2, 4]]
        noise[:, 0] = 0.9 * noise[0, 0] + 0.3 * noise[:, 0]
        return noise


def corrupt(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The rows as a broken sensor and a careless export would send them; the same damage for the same rows.

    Humidity is -999 or in the thousands, every fourth target is missing, temperatures are text with a unit, and most
    of the weather is a code that nobody knows.
    """
    import numpy as np

    row = np.arange(len(frame))
    spoiled = frame.copy()
    spoiled["humidity"] = frame["humidity"].mask(row % 3 == 0, -999.0).mask(row % 3 == 1, frame["humidity"] * 100)
    spoiled["demand"] = frame["demand"].mask(row % 4 == 0)
    spoiled["temperature"] = frame["temperature"].map(lambda value: f"{value} C", na_action="ignore").astype("str")
    spoiled["weather"] = frame["weather"].mask(row % 5 != 0, "E17")
    return spoiled


def _old_world(hour: "npt.NDArray[np.int64]", price: "Floats") -> "Floats":
    """Peaks on the way to work and back; dear hours are avoided."""
    return 90 * _peak(hour, 8) + 110 * _peak(hour, 18) - 6 * (price - 20)


def _new_world(hour: "npt.NDArray[np.int64]", price: "Floats") -> "Floats":
    """Peaks at midday and at night; those who still buy are the ones who must."""
    return 60 + 120 * _peak(hour, 13) + 80 * _peak(hour, 23) + 6 * (price - 36)


def _peak(hour: "npt.NDArray[np.int64]", at: int) -> "Floats":
    """A bell of about five hours around the hour `at`, on the clock's circle; 1 at its top."""
    import numpy as np

    distance = np.abs(hour - at)
    distance = np.minimum(distance, DAY - distance)
    return np.asarray(np.exp(-0.5 * (distance / 2.0) ** 2))


def _uniform(normal: "Floats") -> "Floats":
    """Standard normal numbers as uniform ones in 0..1."""
    import numpy as np
    from scipy.special import ndtr

    return np.asarray(ndtr(normal))
