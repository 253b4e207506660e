// name: steering_by_layer
// title: Steering by layer
// folder: Interventions
// question: Do features of later layers move a readout more, and do ON and OFF features differ?
// shape: table
// param limit: int = 200 (1..100000) -- maximum number of rows
// column readout: name of the readout
// column layer: layer of the features
// column switch: on, off, or empty: neither, or not known
// column features: number of features, which are the unit
// column median_slope: median slope on the dose
// column median_size: median of the absolute slopes
// column median_control: control: median size of the slopes of random directions of equal norm
// column positive: features with a slope above 0
// column above_random: features whose slope is above that of every random direction
// column closed_form: fixed by a product of weights, and not tested
// column run: id of the steering run
// budget: $limit

MATCH (f:Feature)-[s:STEERS]->(r:Readout)
WHERE s.slope IS NOT NULL
OPTIONAL MATCH (:Run {id: s.run})-[x:FOUND]->(f)
WITH r.name AS readout, f.layer AS layer, coalesce(x.steering_switch, '') AS switch, s.closed_form AS closed_form, s.run AS run, s
WITH readout, layer, switch, closed_form, run, count(s) AS features, percentileCont(s.slope, 0.5) AS median_slope,
  percentileCont(abs(s.slope), 0.5) AS median_size, percentileCont(s.control, 0.5) AS median_control,
  sum(CASE WHEN s.slope > 0 THEN 1 ELSE 0 END) AS positive, sum(CASE WHEN s.above_random THEN 1 ELSE 0 END) AS above_random
RETURN readout, layer, switch, features, median_slope, median_size, median_control, positive, above_random, closed_form, run
ORDER BY run, readout, layer, switch
LIMIT $limit
