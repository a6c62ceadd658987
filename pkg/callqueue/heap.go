package callqueue

// heap holds tasks, the smallest key in front and of equal ones the task that was made first. A task lies in one heap at
// most and knows where, so that it can be taken out of the middle.
type heap struct {
	entries []entry
	// Where the heap holds tasks that are ready: in what order of urgency, in which hours, for whom.
	class uint8
	hours uint32 // 0 for those whose customers are waiting for the call
	lane  uint32
	index uint32 // its own, in Queue.heaps
}

type entry struct{ key, task uint32 }

func (e entry) less(f entry) bool { return e.key < f.key || e.key == f.key && e.task < f.task }

// put files the task in a heap; it must lie in none.
func (q *Queue) put(heap, key, id uint32) {
	h := q.heaps[heap]
	h.entries = append(h.entries, entry{key, id})
	q.tasks.at(id).heap = heap
	if h.hours != 0 {
		q.hours[h.hours].ready[h.class]++
		q.ready[h.class]++
	}
	q.up(h, len(h.entries)-1)
}

// take takes the task out of the heap that it lies in, if it does.
func (q *Queue) take(id uint32) {
	t := q.tasks.at(id)
	if t.heap == nowhere {
		return
	}
	h := q.heaps[t.heap]
	i, last := int(t.pos), len(h.entries)-1
	t.heap = nowhere
	if h.hours != 0 {
		q.hours[h.hours].ready[h.class]--
		q.ready[h.class]--
	}
	moved := h.entries[last]
	h.entries = h.entries[:last]
	if i < last {
		h.entries[i] = moved
		q.down(h, q.up(h, i))
	}
}

func (q *Queue) up(h *heap, i int) int {
	e := h.entries[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !e.less(h.entries[parent]) {
			break
		}
		q.set(h, i, h.entries[parent])
		i = parent
	}
	q.set(h, i, e)
	return i
}

func (q *Queue) down(h *heap, i int) {
	e := h.entries[i]
	for {
		child := 2*i + 1
		if child >= len(h.entries) {
			break
		}
		if child+1 < len(h.entries) && h.entries[child+1].less(h.entries[child]) {
			child++
		}
		if !h.entries[child].less(e) {
			break
		}
		q.set(h, i, h.entries[child])
		i = child
	}
	q.set(h, i, e)
}

func (q *Queue) set(h *heap, i int, e entry) {
	h.entries[i] = e
	q.tasks.at(e.task).pos = uint32(i)
}
