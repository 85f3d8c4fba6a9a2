//! The decision, without a machine: may this member found the cluster, and which?
//!
//! Members are known by their index in the plan. `I` is an incarnation: the random number of one life of a member's
//! data directory. The model test beside this explores every interleaving of three members.

/// What a member holds durably in its data directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Own<I> {
    /// This life.
    pub incarnation: I,
    /// The decided founding: the incarnation of every member.
    pub map: Option<Vec<I>>,
}

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Statement<I> {
    /// Nothing was ever decided or stored in this life.
    Empty(I),
    /// It started, or will, in the cluster of this founding.
    Decided(Vec<I>),
}

/// What came of asking a member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer<I> {
    /// Nothing.
    Silent,
    /// Its plan is for another cluster.
    Differs,
    /// A statement.
    Said(Statement<I>),
}

/// All that a decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, I> {
    /// This member.
    pub me: usize,
    /// What it holds.
    pub own: &'a Own<I>,
    /// The incarnations of the first round, if in it all members were empty.
    pub first: Option<&'a [I]>,
    /// The answers of this round. All were asked after the first round was complete. The own place is not looked at.
    pub answers: &'a [Answer<I>],
    /// A member whose etcd answered a linearizable request *before* this round.
    pub running: Option<usize>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<I> {
    /// Ask again later: these members are silent.
    Wait(Vec<usize>),
    /// All members are empty: ask everyone again, with these incarnations as the first round.
    Again(Vec<I>),
    /// Found the cluster.
    New(Vec<I>),
    /// Start in the founding that another decided, or this member itself before it was stopped.
    Adopt(Vec<I>),
    /// The cluster runs and has no place for this life: join it.
    Exists(usize),
    /// These members decided with another life of this member.
    Wiped(Vec<usize>),
    /// These members have the plan of another cluster.
    Differs(Vec<usize>),
    /// Two foundings hold this life. Cannot happen; never choose between them.
    Split(usize, usize),
}

/// Decides.
pub fn decide<I: Clone + PartialEq>(view: &View<'_, I>) -> Decision<I> {
    if let Some(map) = &view.own.map {
        return Decision::Adopt(map.clone());
    }
    let others = || view.answers.iter().enumerate().filter(|(member, _)| *member != view.me);
    let which = |wanted: fn(&Answer<I>) -> bool| -> Vec<usize> {
        others().filter(|(_, answer)| wanted(answer)).map(|(member, _)| member).collect()
    };
    let differing = which(|answer| matches!(answer, Answer::Differs));
    if !differing.is_empty() {
        return Decision::Differs(differing);
    }
    let mut mine: Option<(usize, &Vec<I>)> = None;
    let mut strange = Vec::new();
    for (member, answer) in others() {
        let Answer::Said(Statement::Decided(map)) = answer else { continue };
        if map.get(view.me) != Some(&view.own.incarnation) {
            strange.push(member);
            continue;
        }
        match mine {
            Some((first, known)) if known != map => return Decision::Split(first, member),
            _ => mine = Some((member, map)),
        }
    }
    match (mine, strange.first()) {
        (Some((member, _)), Some(other)) => return Decision::Split(member, *other),
        (Some((_, map)), None) => return Decision::Adopt(map.clone()),
        (None, Some(_)) => return Decision::Wiped(strange),
        (None, None) => {}
    }
    let silent = which(|answer| matches!(answer, Answer::Silent));
    if let Some(member) = view.running.filter(|_| !silent.is_empty()) {
        return Decision::Exists(member);
    }
    if !silent.is_empty() {
        return Decision::Wait(silent);
    }
    let mut all = Vec::with_capacity(view.answers.len());
    for (member, answer) in view.answers.iter().enumerate() {
        match answer {
            _ if member == view.me => all.push(view.own.incarnation.clone()),
            Answer::Said(Statement::Empty(incarnation)) => all.push(incarnation.clone()),
            _ => return Decision::Wait(vec![member]),
        }
    }
    match view.first {
        Some(first) if first == all => Decision::New(all),
        _ => Decision::Again(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Own<u8> {
        Own { incarnation: 1, map: None }
    }

    fn empty(incarnation: u8) -> Answer<u8> {
        Answer::Said(Statement::Empty(incarnation))
    }

    fn decided(map: [u8; 3]) -> Answer<u8> {
        Answer::Said(Statement::Decided(map.to_vec()))
    }

    fn ask(first: Option<&[u8]>, answers: [Answer<u8>; 2], running: Option<usize>) -> Decision<u8> {
        let [b, c] = answers;
        decide(&View { me: 0, own: &own(), first, answers: &[Answer::Silent, b, c], running })
    }

    #[test]
    fn founding_takes_two_rounds() {
        assert_eq!(ask(None, [empty(2), empty(3)], None), Decision::Again(vec![1, 2, 3]));
        assert_eq!(ask(Some(&[1, 2, 3]), [empty(2), empty(3)], None), Decision::New(vec![1, 2, 3]));
        // One was wiped in between.
        assert_eq!(ask(Some(&[1, 2, 3]), [empty(2), empty(4)], None), Decision::Again(vec![1, 2, 4]));
        assert_eq!(ask(Some(&[1, 2, 3]), [empty(2), Answer::Silent], None), Decision::Wait(vec![2]));
    }

    #[test]
    fn others_decided() {
        assert_eq!(ask(None, [decided([1, 2, 3]), Answer::Silent], None), Decision::Adopt(vec![1, 2, 3]));
        assert_eq!(ask(None, [decided([1, 2, 3]), Answer::Silent], Some(1)), Decision::Adopt(vec![1, 2, 3]));
        assert_eq!(ask(None, [decided([9, 2, 3]), Answer::Silent], None), Decision::Wiped(vec![1]));
        assert_eq!(ask(None, [decided([9, 2, 3]), decided([1, 2, 3])], None), Decision::Split(2, 1));
        assert_eq!(ask(None, [decided([1, 2, 3]), decided([1, 2, 4])], None), Decision::Split(1, 2));
    }

    #[test]
    fn a_running_cluster_and_another_plan() {
        assert_eq!(ask(None, [Answer::Silent, empty(3)], Some(1)), Decision::Exists(1));
        assert_eq!(ask(None, [Answer::Differs, decided([1, 2, 3])], None), Decision::Differs(vec![1]));
    }

    #[test]
    fn one_member_founds_alone_in_two_rounds() {
        let own = own();
        let view = View { me: 0, own: &own, first: None, answers: &[Answer::Silent], running: None };
        assert_eq!(decide(&view), Decision::Again(vec![1]));
        assert_eq!(decide(&View { first: Some(&[1]), ..view }), Decision::New(vec![1]));
    }
}
