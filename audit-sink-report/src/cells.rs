use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Counts by hour of one label. Most labels of a flood appear in one hour only and take no more.
#[derive(Clone, Debug)]
pub(crate) enum Cells {
    One(u8, u64),
    /// Half the memory, as long as counts are small.
    Small(Box<[u32; 24]>),
    Large(Box<[u64; 24]>),
}

impl Cells {
    pub(crate) const NONE: Self = Self::One(0, 0);

    pub(crate) fn put(&mut self, hour: usize, count: u64, how: impl Fn(u64, u64) -> u64) {
        let hour = hour.min(23);
        match self {
            Self::One(own, value) if usize::from(*own) == hour => *value = how(*value, count),
            Self::One(own, 0) => {
                *own = hour as u8;
                *self = Self::One(*own, how(0, count));
            }
            Self::Small(all) => {
                let value = how(all[hour].into(), count);
                match u32::try_from(value) {
                    Ok(small) => all[hour] = small,
                    Err(_) => self.widen(hour, value),
                }
            }
            Self::Large(all) => all[hour] = how(all[hour], count),
            Self::One(..) => self.widen(hour, how(0, count)),
        }
    }

    /// Takes a count that there is no place for yet.
    #[cold]
    fn widen(&mut self, hour: usize, value: u64) {
        let mut all = self.all();
        all[hour] = value;
        *self = match all.iter().all(|count| u32::try_from(*count).is_ok()) {
            // Nothing is cut off: all are small enough.
            true => Self::Small(Box::new(all.map(|count| count as u32))),
            false => Self::Large(Box::new(all)),
        };
    }

    pub(crate) fn put_all(&mut self, other: &Self, how: impl Fn(u64, u64) -> u64 + Copy) {
        match other {
            Self::One(_, 0) => {}
            Self::One(hour, count) => self.put(usize::from(*hour), *count, how),
            Self::Small(_) | Self::Large(_) => {
                let all = other.all().into_iter().enumerate();
                let counted = all.filter(|(_, count)| *count > 0);
                counted.for_each(|(hour, count)| self.put(hour, count, how));
            }
        }
    }

    pub(crate) fn all(&self) -> [u64; 24] {
        match self {
            Self::One(hour, count) => {
                let mut all = [0; 24];
                all[usize::from(*hour).min(23)] = *count;
                all
            }
            Self::Small(all) => all.map(u64::from),
            Self::Large(all) => **all,
        }
    }

    pub(crate) fn total(&self) -> u64 {
        match self {
            Self::One(_, count) => *count,
            Self::Small(_) | Self::Large(_) => self.all().into_iter().fold(0, sum),
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.total() == 0
    }
}

pub(crate) fn sum(a: u64, b: u64) -> u64 {
    a.saturating_add(b)
}

pub(crate) fn max(a: u64, b: u64) -> u64 {
    a.max(b)
}

impl Default for Cells {
    fn default() -> Self {
        Self::NONE
    }
}

/// By hour, without those of which there is none: `[[9,12],[10,3]]`.
impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = self.all();
        serializer.collect_seq((0_u8..24).zip(all).filter(|(_, count)| *count > 0))
    }
}

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut cells = Self::NONE;
        for (hour, count) in Vec::<(u8, u64)>::deserialize(deserializer)? {
            cells.put(usize::from(hour), count, sum);
        }
        Ok(cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_one_hour_takes_little() {
        assert_eq!(size_of::<Cells>(), 16);
        let mut cells = Cells::NONE;
        cells.put(7, 2, sum);
        assert!(matches!(cells, Cells::One(7, 2)));
        cells.put(9, 1, sum);
        assert!(matches!(cells, Cells::Small(_)));
        cells.put(9, u64::MAX, sum);
        assert_eq!((cells.all()[7], cells.all()[9]), (2, u64::MAX), "and never overflows");
        for (first, second) in [(u64::MAX, 1), (1, 1 << 32), (u64::from(u32::MAX), 1)] {
            let mut cells = Cells::NONE;
            cells.put(0, first, sum);
            cells.put(1, second, sum);
            cells.put(0, 1, sum);
            assert_eq!((cells.all()[0], cells.all()[1]), (sum(first, 1), second));
        }
    }
}
