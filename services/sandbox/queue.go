package sandbox

// task is what there is to do about a message.
type task uint8

const (
	taskText     task = iota // a text moves on
	taskMail                 // a mail moves on
	taskCallback             // a status callback is to be posted
	taskEvent                // an event is to go into the next post of events
	taskEvents               // a post of events is to be made again
)

// word is what a provider says of a message.
type word uint8

const (
	wordSent word = iota // or processed
	wordFinal
	wordDeferred
	wordSpam
)

// The lies.
const (
	lieSignature = 1 << iota // signed by somebody else
	lieID                    // about a message that there is not
)

// chore is one thing to do at a time. A million of them wait in sixteen bytes each.
type chore struct {
	at    int64  // Unix nanoseconds
	what  uint32 // position of the text or the mail, or number of the batch
	task  task
	word  word
	tries uint8
	lie   uint8
}

// agenda is chores by time: a binary heap.
type agenda []chore

func (a *agenda) push(c chore) {
	h := append(*a, c)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].at <= c.at {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = c
	*a = h
}

// pop takes out the first one.
func (a *agenda) pop() chore {
	h := *a
	first, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	*a = h
	i := 0
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].at < h[child].at {
			child++
		}
		if h[child].at >= last.at {
			break
		}
		h[i] = h[child]
		i = child
	}
	if len(h) > 0 {
		h[i] = last
	}
	return first
}

// line is a queue in the order of arrival.
type line struct {
	chores []chore
	head   int
}

func (l *line) len() int { return len(l.chores) - l.head }

func (l *line) push(c chore) {
	if l.head > 1024 && 2*l.head > len(l.chores) { // half of it is behind us
		l.chores = l.chores[:copy(l.chores, l.chores[l.head:])]
		l.head = 0
	}
	l.chores = append(l.chores, c)
}

func (l *line) first() chore { return l.chores[l.head] }

func (l *line) drop() { l.head++ }
