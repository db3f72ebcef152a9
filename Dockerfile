# docker build -t zsl .
# docker run --rm -v "$PWD:/data" zsl fit --config shapes.yaml
#
# On GPUs: docker run --gpus all --shm-size 8g ..., on a host with NVIDIA's container toolkit.
# For CPUs alone the image is smaller: --build-arg TORCH_INDEX=INDEX, the index that
# PyTorch's installation page names for CPUs.
FROM python:3.12-slim

ARG TORCH_INDEX
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} \
    "torch>=2.7" "torchvision>=0.22"

COPY . /src
RUN pip install --no-cache-dir '/src[demo,export]' \
    && useradd --create-home --uid 1000 zsl
USER 1000
WORKDIR /data
ENTRYPOINT ["zsl"]
CMD ["--help"]
