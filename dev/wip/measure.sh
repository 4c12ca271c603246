# usage: measure.sh BINARY
set -u
B=$1; cd /tmp/accuracy; mkdir -p out; export FACEDEX_EMBEDDINGS_DIR=/tmp/accuracy/emb
L=/tmp/lfw/lfw; V1=/work/shared/data/pairsDevTest.txt
$B models compare --images $L --pairs $V1 --precisions balanced,fast,best --json > out/v1.json 2> out/v1.err
echo v1 done $(date)
$B eval calibrate --images $L --hold-out $V1 --catalog out/catalog.toml --json --plot out/fmr-sface.svg > out/cal-sface.json 2> out/cal.err
echo cal sface $(date)
$B eval quality --images $L --json --plot out/quality.svg > out/quality.json 2>> out/cal.err
$B eval identification --images $L --through exact --catalog out/catalog.toml --json > out/id-exact.json 2>> out/cal.err
$B eval identification --images $L --enrol 3 --through exact,mean2,mean3,mean --json > out/id-fusion.json 2>> out/cal.err
echo id exact $(date)
E=$(cat /tmp/accuracy/node/url); export ELASTICSEARCH_URL=$E
$B eval identification --images $L --through int8_hnsw,bbq_hnsw,exact --sizes 500,1000 --catalog out/catalog.toml --plot out/identification.svg --json > out/id.json 2> out/id.err
echo id es $(date)
for e in mobilefacenet-192 sface-2021dec+mobilefacenet-192 dlib-resnet-v1; do
$B eval calibrate --images $L --hold-out $V1 --embedder $e --catalog out/catalog.toml --json > out/cal-$e.json 2>> out/cal.err; echo cal $e $(date); done
$B models compare --images $L --pairs $V1 --detectors mtcnn --embedders sface-2021dec --json > out/v1-mtcnn.json 2>> out/v1.err
echo all $(date)
