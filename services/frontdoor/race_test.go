//go:build race

package frontdoor

// raceDetector makes tests smaller: it costs ten times the time.
const raceDetector = true
