// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whether the coded data of a JPEG goes on to its last block. Decoders paint grey where it does not and call that a
//! picture, because browsers do; a picture whose lower half is grey must not be worked on. Nothing is decoded here: the
//! codes are followed, and their values skipped. What else may be wrong with a file is for the decoder to say.
//!
//! Source: ITU-T T.81, F.2.2 (sequential) and G.2 (progressive).

use super::outline::Refusal;

/// Bits of the longest code.
const LONGEST_CODE: usize = 16;
/// Coefficients of a block.
const COEFFICIENTS: u8 = 64;

/// Why codes are not followed further.
enum Stop {
    /// The data has ended.
    Short,
    /// It makes no sense.
    Odd,
}

/// What is known where a scan begins.
#[derive(Default)]
struct State {
    frame: Option<Frame>,
    /// Of DC coefficients, and of the others, by their numbers.
    tables: [[Option<Table>; 4]; 2],
    /// MCUs between two restarts; 0: none.
    interval: usize,
}

struct Frame {
    is_progressive: bool,
    width: usize,
    height: usize,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    across: usize,
    down: usize,
    /// For each block, in rows of whole MCUs, the coefficients that are not zero: of these a refining scan says more.
    known: Vec<u64>,
    /// Whether some scan had its mean values.
    is_seen: bool,
}

/// For any sixteen bits the value of the code that they begin with, and its length. 0: none.
type Table = Box<[(u8, u8)]>;

/// A scan's header: its components by their places in the frame and their tables' numbers, the first and the last of
/// their coefficients, and whether it refines them.
struct Scan {
    components: Vec<(usize, [usize; 2])>,
    first: u8,
    last: u8,
    refines: bool,
}

/// Follows the scans of a JPEG without the applications' segments.
///
/// # Errors
/// [`Refusal::Truncated`] when one ends before its last block, and when there is none for a component.
pub(super) fn check(file: &[u8]) -> Result<(), Refusal> {
    match follow(file) {
        Err(Stop::Short) => Err(Refusal::Truncated),
        Ok(()) | Err(Stop::Odd) => Ok(()),
    }
}

fn follow(file: &[u8]) -> Result<(), Stop> {
    let (mut state, mut at) = (State::default(), 2);
    loop {
        let [0xff, kind] = *file.get(at..at + 2).ok_or(Stop::Odd)? else { return Err(Stop::Odd) };
        at += 2;
        match kind {
            0xd9 => return state.end(),
            0x01 | 0xd0..=0xd7 => continue,
            _ => {}
        }
        let length = file.get(at..at + 2).ok_or(Stop::Odd)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let data = file.get(at + 2..at + length).ok_or(Stop::Odd)?;
        at += length;
        match kind {
            0xc0..=0xc2 => state.frame = Some(Frame::read(data, kind == 0xc2)?),
            0xc4 => state.read_tables(data)?,
            0xdd => state.interval = usize::from(u16::from_be_bytes(*data.first_chunk().ok_or(Stop::Odd)?)),
            0xda => at += state.scan(data, &file[at..])?,
            _ => {}
        }
    }
}

impl Frame {
    fn read(data: &[u8], is_progressive: bool) -> Result<Self, Stop> {
        let [_, high, low, left, right, _, rest @ ..] = data else { return Err(Stop::Odd) };
        let side = |high: &u8, low: &u8| usize::from(u16::from_be_bytes([*high, *low]));
        let component = |part: &[u8; 3]| {
            let (across, down) = (usize::from(part[1] >> 4), usize::from(part[1] & 15));
            let sound = (1..=4).contains(&across) && (1..=4).contains(&down);
            let component = Component { id: part[0], across, down, known: Vec::new(), is_seen: false };
            if sound { Ok(component) } else { Err(Stop::Odd) }
        };
        let components = rest.as_chunks::<3>().0.iter().map(component).collect::<Result<Vec<_>, _>>()?;
        if components.is_empty() || components.len() > 4 {
            return Err(Stop::Odd);
        }
        let mut frame =
            Self { is_progressive, width: side(left, right), height: side(high, low), components };
        if is_progressive {
            let (across, down) = frame.mcus();
            for component in &mut frame.components {
                component.known = vec![0; across * component.across * down * component.down];
            }
        }
        Ok(frame)
    }

    /// Blocks of the largest component in an MCU, across and down.
    fn largest(&self) -> (usize, usize) {
        let across = self.components.iter().map(|component| component.across).max();
        let down = self.components.iter().map(|component| component.down).max();
        (across.unwrap_or(1), down.unwrap_or(1))
    }

    /// MCUs of a scan with several components, across and down.
    fn mcus(&self) -> (usize, usize) {
        let (across, down) = self.largest();
        (self.width.div_ceil(8 * across), self.height.div_ceil(8 * down))
    }

    /// Blocks of a scan with this component alone, across and down: those that show something.
    fn blocks(&self, component: usize) -> (usize, usize) {
        let (across, down) = self.largest();
        let component = &self.components[component];
        let blocks = |side: usize, own: usize, largest: usize| (side * own).div_ceil(largest).div_ceil(8);
        (blocks(self.width, component.across, across), blocks(self.height, component.down, down))
    }
}

impl State {
    /// Whether every component was in some scan.
    fn end(&self) -> Result<(), Stop> {
        let frame = self.frame.as_ref().ok_or(Stop::Odd)?;
        let all = frame.components.iter().all(|component| component.is_seen);
        if all { Ok(()) } else { Err(Stop::Short) }
    }

    fn read_tables(&mut self, mut data: &[u8]) -> Result<(), Stop> {
        while let Some((head, rest)) = data.split_first() {
            let (counts, rest) = rest.split_at_checked(LONGEST_CODE).ok_or(Stop::Odd)?;
            let count = counts.iter().copied().map(usize::from).sum();
            let (values, rest) = rest.split_at_checked(count).ok_or(Stop::Odd)?;
            let place = self.tables.get_mut(usize::from(head >> 4)).ok_or(Stop::Odd)?;
            *place.get_mut(usize::from(head & 15)).ok_or(Stop::Odd)? = Some(table(counts, values)?);
            data = rest;
        }
        Ok(())
    }

    fn read_scan(&self, data: &[u8]) -> Result<Scan, Stop> {
        let frame = self.frame.as_ref().ok_or(Stop::Odd)?;
        let (count, rest) = data.split_first().ok_or(Stop::Odd)?;
        let (parts, rest) = rest.split_at_checked(2 * usize::from(*count)).ok_or(Stop::Odd)?;
        let [first, last, bits, ..] = *rest else { return Err(Stop::Odd) };
        let component = |[id, tables]: &[u8; 2]| {
            let place = frame.components.iter().position(|component| component.id == *id);
            Some((place?, [usize::from(tables >> 4), usize::from(tables & 15)]))
        };
        let components = parts.as_chunks::<2>().0.iter().map(component).collect::<Option<Vec<_>>>();
        let components =
            components.filter(|components| (1..=4).contains(&components.len())).ok_or(Stop::Odd)?;
        let one_kind = if first == 0 { last == 0 } else { components.len() == 1 };
        if first > last || last >= COEFFICIENTS || (frame.is_progressive && !one_kind) {
            return Err(Stop::Odd);
        }
        Ok(Scan { components, first, last, refines: bits >> 4 != 0 })
    }

    /// Follows the scan with the header `head`, whose coded data `data` begins with; gives its length.
    fn scan(&mut self, head: &[u8], data: &[u8]) -> Result<usize, Stop> {
        let scan = self.read_scan(head)?;
        let frame = self.frame.as_mut().ok_or(Stop::Odd)?;
        let (across, down) = match scan.components[..] {
            [(place, _)] => frame.blocks(place),
            _ => frame.mcus(),
        };
        let per_row = frame.mcus().0;
        let mut intervals = Intervals { data, at: 0, is_over: false };
        let (mut left, mut done) = (across * down, 0);
        while left > 0 {
            let coded = intervals.next().ok_or(Stop::Short)?;
            let count = if self.interval == 0 { left } else { left.min(self.interval) };
            let mut codes = Codes { bits: Bits::new(coded), tables: &self.tables, scan: &scan, run: 0 };
            for mcu in done..done + count {
                codes.mcu(frame, (mcu % across, mcu / across), per_row)?;
            }
            (left, done) = (left - count, done + count);
        }
        if scan.first == 0 {
            scan.components.iter().for_each(|(place, _)| frame.components[*place].is_seen = true);
        }
        // What there is beside belongs to no block.
        intervals.by_ref().for_each(drop);
        Ok(intervals.at)
    }
}

/// The coded data of a scan, in the pieces between its restarts.
struct Intervals<'a> {
    data: &'a [u8],
    at: usize,
    is_over: bool,
}

impl<'a> Iterator for Intervals<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.is_over {
            return None;
        }
        let begin = self.at;
        loop {
            let Some(ahead) = self.data[self.at..].iter().position(|byte| *byte == 0xff) else {
                (self.at, self.is_over) = (self.data.len(), true);
                return Some(&self.data[begin..]);
            };
            let end = self.at + ahead;
            match self.data.get(end + 1) {
                Some(0x00) => self.at = end + 2,
                Some(0xff) => self.at = end + 1,
                Some(0xd0..=0xd7) => {
                    self.at = end + 2;
                    return Some(&self.data[begin..end]);
                }
                _ => {
                    (self.at, self.is_over) = (end, true);
                    return Some(&self.data[begin..end]);
                }
            }
        }
    }
}

/// The codes of one interval.
struct Codes<'a> {
    bits: Bits<'a>,
    tables: &'a [[Option<Table>; 4]; 2],
    scan: &'a Scan,
    /// Blocks of which nothing more is said.
    run: u32,
}

impl Codes<'_> {
    /// Follows those of one MCU, which stands at these `place`s across and down.
    fn mcu(&mut self, frame: &mut Frame, (x, y): (usize, usize), per_row: usize) -> Result<(), Stop> {
        let scan = self.scan;
        let alone = scan.components.len() == 1;
        for (place, tables) in &scan.components {
            let Component { across, down, known, .. } = &mut frame.components[*place];
            let (stride, is_progressive) = (per_row * *across, frame.is_progressive);
            let (wide, high) = if alone { (1, 1) } else { (*across, *down) };
            for (below, beside) in (0..high).flat_map(|below| (0..wide).map(move |beside| (below, beside))) {
                if is_progressive {
                    let block = (y * high + below) * stride + x * wide + beside;
                    self.part_of_block(*tables, known.get_mut(block).ok_or(Stop::Odd)?)?;
                } else {
                    self.block(*tables)?;
                }
            }
        }
        Ok(())
    }

    /// All of a block. Source: F.2.2.
    fn block(&mut self, [mean, others]: [usize; 2]) -> Result<(), Stop> {
        self.mean(mean)?;
        let mut at = 1;
        while at < COEFFICIENTS {
            let (zeros, size) = self.code(1, others)?;
            match (zeros, size) {
                (15, 0) => at += 16,
                (_, 0) => break,
                _ => {
                    self.bits.take(size.into())?;
                    at += zeros + 1;
                }
            }
        }
        Ok(())
    }

    /// What a progressive scan says of a block, whose coefficients `known` are not zero.
    fn part_of_block(&mut self, [mean, others]: [usize; 2], known: &mut u64) -> Result<(), Stop> {
        match (self.scan.first, self.scan.refines) {
            (0, false) => self.mean(mean),
            (0, true) => self.bits.take(1).map(drop),
            (_, false) => self.others(others, known),
            (_, true) => self.refined(others, known),
        }
    }

    fn mean(&mut self, table: usize) -> Result<(), Stop> {
        let size = self.bits.code(self.tables[0].get(table).and_then(Option::as_ref).ok_or(Stop::Odd)?)?;
        self.bits.take(size.into()).map(drop)
    }

    /// Coefficients that are said for the first time. Source: G.1.2.2.
    fn others(&mut self, table: usize, known: &mut u64) -> Result<(), Stop> {
        if self.run > 0 {
            self.run -= 1;
            return Ok(());
        }
        let mut at = self.scan.first;
        while at <= self.scan.last {
            let (zeros, size) = self.code(1, table)?;
            match (zeros, size) {
                (15, 0) => at += 16,
                (_, 0) => {
                    self.run = self.end_of_blocks(zeros)? - 1;
                    break;
                }
                _ => {
                    at += zeros;
                    self.bits.take(size.into())?;
                    *known |= 1_u64.checked_shl(at.into()).ok_or(Stop::Odd)?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// One more bit of each coefficient that is known, and new ones between them. Source: G.1.2.3.
    fn refined(&mut self, table: usize, known: &mut u64) -> Result<(), Stop> {
        let (mut at, last) = (self.scan.first, self.scan.last);
        while self.run == 0 && at <= last {
            let (mut zeros, size) = self.code(1, table)?;
            if size == 0 && zeros < 15 {
                self.run = self.end_of_blocks(zeros)?;
                break;
            }
            // Its sign.
            self.bits.take(size.min(1).into())?;
            while at <= last {
                if *known >> at & 1 == 1 {
                    self.bits.take(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
            if size > 0 && at <= last {
                *known |= 1 << at;
            }
            at += 1;
        }
        if self.run > 0 {
            let left = (at..=last).filter(|at| *known >> at & 1 == 1).count();
            (0..left).try_for_each(|_| self.bits.take(1).map(drop))?;
            self.run -= 1;
        }
        Ok(())
    }

    /// Blocks that end here, this one among them.
    fn end_of_blocks(&mut self, bits: u8) -> Result<u32, Stop> {
        Ok((1 << bits) + self.bits.take(bits.into())?)
    }

    /// The two halves of a code: zeros before a coefficient, and its bits.
    fn code(&mut self, kind: usize, table: usize) -> Result<(u8, u8), Stop> {
        let table = self.tables[kind].get(table).and_then(Option::as_ref).ok_or(Stop::Odd)?;
        let code = self.bits.code(table)?;
        Ok((code >> 4, code & 15))
    }
}

/// The bits of coded data, the highest first.
struct Bits<'a> {
    rest: &'a [u8],
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest, held: 0, count: 0 }
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let Some((byte, rest)) = self.rest.split_first() else { return };
            // A zero stands behind each of these, so that it is no marker; behind the last of an interval may stand more
            // of them.
            self.rest = if *byte == 0xff { rest.get(1..).unwrap_or_default() } else { rest };
            self.held = self.held << 8 | u64::from(*byte);
            self.count += 8;
        }
    }

    /// The next `count` bits, 16 at most.
    fn take(&mut self, count: u32) -> Result<u32, Stop> {
        if count > 16 {
            return Err(Stop::Odd);
        }
        self.fill();
        self.count = self.count.checked_sub(count).ok_or(Stop::Short)?;
        Ok((self.held >> self.count) as u32 & ((1 << count) - 1))
    }

    /// The value of the next code.
    fn code(&mut self, table: &Table) -> Result<u8, Stop> {
        self.fill();
        let bits =
            if self.count < 16 { self.held << (16 - self.count) } else { self.held >> (self.count - 16) };
        match table[(bits & 0xffff) as usize] {
            (_, 0) if self.count < 16 => Err(Stop::Short),
            (_, 0) => Err(Stop::Odd),
            (value, length) => self.take(length.into()).map(|_| value),
        }
    }
}

/// The table of the codes with these values, of which `counts` says how many have 1, 2 and so on bits. Source: C.2.
fn table(counts: &[u8], values: &[u8]) -> Result<Table, Stop> {
    let mut table = vec![(0, 0); 1 << LONGEST_CODE];
    let (mut at, mut values) = (0, values.iter());
    for (length, count) in (1..).zip(counts) {
        let width = 1 << (LONGEST_CODE - length);
        for value in values.by_ref().take(usize::from(*count)) {
            table.get_mut(at..at + width).ok_or(Stop::Odd)?.fill((*value, length as u8));
            at += width;
        }
    }
    Ok(table.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::outline::outline;
    use super::*;

    /// The JPEGs of other programs, without the applications' segments.
    fn files() -> Vec<(String, Vec<u8>)> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pictures");
        let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let paths = paths.filter(|path| path.extension().is_some_and(|end| end == "jpg"));
        let read = |path: std::path::PathBuf| {
            (path.display().to_string(), outline(&fs::read(&path).unwrap()).unwrap().bytes)
        };
        paths.map(read).collect()
    }

    /// Where the coded data of the last scan begins.
    fn last_scan(file: &[u8]) -> usize {
        let head = file.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
        head + 2 + usize::from(u16::from_be_bytes([file[head + 2], file[head + 3]]))
    }

    #[test]
    fn whole_pictures_are_whole() {
        let files = files();
        assert!(files.len() > 8, "{}", files.len());
        for (name, file) in files {
            assert!(check(&file).is_ok(), "{name}");
        }
    }

    #[test]
    fn coded_data_that_is_cut_anywhere_ends_early() {
        let mut cuts = 0;
        for (name, file) in files() {
            // Not behind what stands for one byte of data.
            let may_cut = |at: &usize| file[at - 1] != 0xff && !(file[at - 2] == 0xff && file[at - 1] == 0);
            for at in (last_scan(&file) + 2..file.len() - 2).filter(may_cut).step_by(2) {
                let cut = [&file[..at], &[0xff, 0xd9]].concat();
                assert_eq!(check(&cut), Err(Refusal::Truncated), "{name} at {at}");
                cuts += 1;
            }
        }
        assert!(cuts > 200, "{cuts}");
    }

    #[test]
    fn whatever_stands_in_a_file_comes_to_an_end() {
        let mut state = 1_u64;
        // Source: Marsaglia 2003, "Xorshift RNGs".
        let mut roll = |sides: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % sides as u64) as usize
        };
        for (_, file) in files() {
            for _ in 0..200 {
                let mut file = file.clone();
                for _ in 0..=roll(4) {
                    let at = roll(file.len());
                    file[at] = [0, 0xff, 0xda, 0xc4, roll(256) as u8][roll(5)];
                }
                assert!(matches!(check(&file), Ok(()) | Err(Refusal::Truncated)));
            }
        }
    }
}
